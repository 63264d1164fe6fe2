//! Distinguished names as text (RFC 4514).

use data_encoding::HEXLOWER;
use std::fmt::Write as _;
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// The short names of RFC 4514 §3 and RFC 4519, and the common one for an e-mail address.
const SHORT: [(&str, &str); 14] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.4", "SN"),
    ("2.5.4.5", "serialNumber"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "STREET"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.12", "title"),
    ("2.5.4.42", "GN"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
];

/// Writes a name, its last part first: `CN=ada,O=Example`. Characters that could pass for the border of a part are
/// escaped, so one value cannot pass for two.
pub(super) fn text(name: &X509Name<'_>) -> String {
    let mut text = String::new();
    let parts: Vec<_> = name.iter_rdn().collect();
    for (position, part) in parts.iter().rev().enumerate() {
        for (inner, attribute) in part.iter().enumerate() {
            text.push_str(match (position, inner) {
                (0, 0) => "",
                (_, 0) => ",",
                (_, _) => "+",
            });
            write(&mut text, attribute);
        }
    }
    text
}

fn write(text: &mut String, attribute: &AttributeTypeAndValue<'_>) {
    let oid = attribute.attr_type().to_id_string();
    let short = SHORT.iter().find(|(known, _)| *known == oid).map(|(_, short)| *short);
    match (short, attribute.as_str()) {
        (Some(short), Ok(value)) => {
            text.push_str(short);
            text.push('=');
            escape(text, value);
        }
        // RFC 4514 §2.4: an attribute without a short name, or with a value that is no string, is written in its
        // encoding.
        _ => {
            let _infallible = write!(text, "{oid}=#{}", HEXLOWER.encode(&encoded(attribute)));
        }
    }
}

/// Escapes a value as RFC 4514 §2.4 requires. Control characters are escaped as well, because the text becomes a
/// variable and part of a log line.
fn escape(text: &mut String, value: &str) {
    let last = value.chars().count().saturating_sub(1);
    for (position, letter) in value.chars().enumerate() {
        match letter {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => text.extend(['\\', letter]),
            ' ' | '#' if position == 0 => text.extend(['\\', letter]),
            ' ' if position == last => text.push_str("\\ "),
            control if control.is_control() => {
                let mut bytes = [0; 4];
                for byte in control.encode_utf8(&mut bytes).bytes() {
                    let _infallible = write!(text, "\\{byte:02X}");
                }
            }
            plain => text.push(plain),
        }
    }
}

/// Encodes a value in DER (X.690 §8.1).
fn encoded(attribute: &AttributeTypeAndValue<'_>) -> Vec<u8> {
    let (value, content) = (attribute.attr_value(), attribute.as_slice());
    // Values in names have universal types, whose tag numbers are below 31.
    let tag =
        u8::try_from(value.tag().0).unwrap_or_default() | (u8::from(value.header.is_constructed()) << 5);
    let mut bytes = vec![tag];
    match u8::try_from(content.len()) {
        Ok(short @ ..0x80) => bytes.push(short),
        _ => {
            let length = content.len().to_be_bytes();
            let length = &length[length.iter().take_while(|byte| **byte == 0).count()..];
            // A length has at most eight bytes.
            bytes.push(0x80 | u8::try_from(length.len()).unwrap_or_default());
            bytes.extend_from_slice(length);
        }
    }
    bytes.extend_from_slice(content);
    bytes
}
