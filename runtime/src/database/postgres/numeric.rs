//! Decimal numbers of PostgreSQL, from their binary form to text.

/// Converts a number; `None` if the bytes are not one. Source: PostgreSQL, `numeric_send`.
pub(super) fn text(bytes: &[u8]) -> Option<String> {
    let (head, digits) = bytes.split_at_checked(8)?;
    let word = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
    let (weight, sign, scale) = (i32::from(word(2).cast_signed()), word(4), usize::from(word(6)));
    match sign {
        0xC000 => return Some("NaN".to_owned()),
        0xD000 => return Some("Infinity".to_owned()),
        0xF000 => return Some("-Infinity".to_owned()),
        _ => {}
    }
    // Each is a digit of base 10,000; the first one has the weight.
    let digits: Vec<u16> =
        digits.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
    let digit =
        |place: i32| usize::try_from(place).ok().and_then(|place| digits.get(place)).copied().unwrap_or(0);
    let mut text = String::new();
    if sign == 0x4000 {
        text.push('-');
    }
    text.push_str(&digit(if weight < 0 { -1 } else { 0 }).to_string());
    for place in 1..=weight {
        text.push_str(&format!("{:04}", digit(place)));
    }
    if scale > 0 {
        text.push('.');
        let mut fraction = String::new();
        let mut place = weight + 1;
        while fraction.len() < scale {
            fraction.push_str(&format!("{:04}", digit(place)));
            place += 1;
        }
        fraction.truncate(scale);
        text.push_str(&fraction);
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::text;

    fn number(weight: i16, sign: u16, scale: u16, digits: &[u16]) -> Option<String> {
        let count = u16::try_from(digits.len()).unwrap();
        let head = [count, weight.cast_unsigned(), sign, scale];
        let bytes: Vec<u8> = head.iter().chain(digits).flat_map(|word| word.to_be_bytes()).collect();
        text(&bytes)
    }

    #[test]
    fn numbers_are_exact() {
        for (weight, sign, scale, digits, wanted) in [
            (0, 0, 0, &[][..], "0"),
            (0, 0, 2, &[12, 3400], "12.34"),
            (0, 0x4000, 1, &[1, 5000], "-1.5"),
            (1, 0, 0, &[1, 2], "10002"),
            (2, 0, 0, &[1], "100000000"),
            (-1, 0, 5, &[123, 4000], "0.01234"),
            (-2, 0, 6, &[1200], "0.000012"),
            (0, 0xC000, 0, &[], "NaN"),
        ] {
            assert_eq!(number(weight, sign, scale, digits).as_deref(), Some(wanted));
        }
        assert_eq!(text(b"\0\0"), None);
    }
}
