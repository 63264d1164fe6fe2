//! Fields of requests to the collector, such as credentials, from the environment.

use std::collections::HashMap;
use std::fmt;

use http::{HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;

/// The variables. The first takes precedence.
const VARIABLES: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"];

/// Fields that describe the request itself. With another value of them, a collector could not read it.
const OWN: [&str; 4] = ["content-encoding", "content-length", "content-type", "transfer-encoding"];

/// Values by the names of their fields, in percent-encoding, as the exporter of the SDK takes them.
#[derive(Clone, PartialEq, Default)]
pub(super) struct CollectorFields(pub(super) HashMap<String, String>);

impl CollectorFields {
    /// Reads the fields: `NAME=VALUE,...`, with values in percent-encoding.
    ///
    /// # Errors
    /// An element is not a field, or is a field of the request itself. The message shows no value, which may be a credential.
    pub(super) fn read(set: &impl Fn(&str) -> Option<String>) -> Result<CollectorFields, String> {
        let found = VARIABLES.iter().find_map(|name| Some((name, set(name)?)));
        let Some((variable, list)) = found else { return Ok(CollectorFields::default()) };
        let mut fields = HashMap::new();
        for (position, element) in list.split(',').map(str::trim).enumerate() {
            if element.is_empty() {
                continue;
            }
            let (name, value) = field(element).ok_or_else(|| {
                format!(
                    "{variable}: wanted NAME=VALUE,... with values in percent-encoding, and element {} is not a field",
                    position + 1
                )
            })?;
            if OWN.contains(&name.as_str()) {
                return Err(format!("{variable}: {name} is a field of the request itself: leave it out"));
            }
            fields.insert(name.as_str().to_owned(), value.to_owned());
        }
        Ok(CollectorFields(fields))
    }
}

/// Splits an element of the list. `None` if it is not a field with a value.
fn field(element: &str) -> Option<(HeaderName, &str)> {
    let (name, value) = element.split_once('=')?;
    let name: HeaderName = name.trim().parse().ok()?;
    let value = value.trim();
    // A value that does not decode to UTF-8 is sent as it is written.
    let decoded = percent_decode_str(value).decode_utf8().map_or_else(|_| value.to_owned(), String::from);
    (!value.is_empty() && HeaderValue::from_str(&decoded).is_ok()).then_some((name, value))
}

/// Shows no value, which may be a credential.
impl fmt::Debug for CollectorFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<HashMap<String, String>, String> {
        let set = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        CollectorFields::read(&set).map(|CollectorFields(fields)| fields)
    }

    fn fields(fields: &[(&str, &str)]) -> HashMap<String, String> {
        fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_variable_of_traces_takes_precedence_and_values_stay_encoded() {
        let [traces, all] = VARIABLES;
        let list = (all, "Authorization = Bearer%20s3cret,,x=a=b, ");

        assert_eq!(read(&[]), Ok(fields(&[])));
        assert_eq!(read(&[list]), Ok(fields(&[("authorization", "Bearer%20s3cret"), ("x", "a=b")])));
        assert_eq!(read(&[list, (traces, "x=%zz")]), Ok(fields(&[("x", "%zz")])));
    }

    #[test]
    fn what_is_not_a_field_is_refused_without_its_value() {
        for (list, told) in [
            ("s3cret", "element 1 is not a field"),
            ("x=1,,authorization=", "element 3 is not a field"),
            ("x=1,=s3cret", "element 2 is not a field"),
            ("a b=s3cret", "element 1 is not a field"),
            ("x=s3cret%0d%0ay: z", "element 1 is not a field"),
            ("Content-Length=5", "content-length is a field of the request itself: leave it out"),
        ] {
            let refusal = read(&[(VARIABLES[1], list)]).unwrap_err();

            assert!(refusal.starts_with(VARIABLES[1]) && refusal.contains(told), "{list}: {refusal}");
            assert!(!refusal.contains("s3cret"), "{refusal}");
        }
        let shown = format!("{:?}", CollectorFields(fields(&[("x", "s3cret")])));
        assert_eq!(shown, "{\"x\"}");
    }
}
