//! The resource of spans: the daemon, as it describes itself and as the environment describes it.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use crate::observe::build_versions;

/// The attribute that names the service.
const SERVICE_NAME: &str = "service.name";

/// Returns the attributes of the resource. `OTEL_RESOURCE_ATTRIBUTES` overrides the daemon's own attributes, and
/// `OTEL_SERVICE_NAME` overrides both. An element of the list without a name or a value is left out.
pub(super) fn attributes(set: &impl Fn(&str) -> Option<String>) -> Vec<(String, String)> {
    let own = [(SERVICE_NAME, "portcullis"), ("service.version", build_versions::VERSION)];
    let own = own.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let listed = set("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
    let service = set("OTEL_SERVICE_NAME").map(|name| (SERVICE_NAME.to_owned(), name));
    let mut all = Vec::from(own);
    for (name, value) in listed.split(',').filter_map(attribute).chain(service) {
        all.retain(|(known, _)| *known != name);
        all.push((name, value));
    }
    all
}

/// Parses an element of the list: `NAME=VALUE`, with a value in percent-encoding, as in W3C Baggage.
fn attribute(element: &str) -> Option<(String, String)> {
    let (name, value) = element.split_once('=')?;
    let (name, value) = (name.trim(), value.trim());
    let is_whole = !name.is_empty() && !value.is_empty();
    // A value that is not UTF-8 stays as it is written.
    let decoded = || percent_decode_str(value).decode_utf8().unwrap_or(Cow::Borrowed(value));
    is_whole.then(|| (name.to_owned(), decoded().into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the name and the version of the service, and the other attributes.
    fn described(list: &str, service: Option<&str>) -> (String, String, Vec<(String, String)>) {
        let all = attributes(&|name: &str| match name {
            "OTEL_RESOURCE_ATTRIBUTES" => Some(list.to_owned()),
            "OTEL_SERVICE_NAME" => service.map(str::to_owned),
            _ => None,
        });
        let value = |name: &str| all.iter().find(|(known, _)| known == name).unwrap().1.clone();
        let (name, version) = (value(SERVICE_NAME), value("service.version"));
        let others = all.iter().filter(|(name, _)| name != SERVICE_NAME && name != "service.version");
        (name, version, others.cloned().collect())
    }

    #[test]
    fn the_service_is_named_by_its_own_variable_then_by_the_list_then_by_the_daemon() {
        for (list, service, wanted) in [
            ("", None, "portcullis"),
            ("a=b, service.name=shop", None, "shop"),
            ("service.name=shop", Some("till"), "till"),
            ("k8s.service.name=shop", None, "portcullis"),
            ("service.namespace=shop,service.name", None, "portcullis"),
            ("service.name=,service.name=one,service.name=two", None, "two"),
        ] {
            assert_eq!(described(list, service).0, wanted, "{list} {service:?}");
        }
    }

    #[test]
    fn values_of_the_list_are_decoded_and_override_the_version() {
        let (_, version, others) =
            described("service.version=7,where=pre%20prod%2C%20left,odd=%ff,base64=YQ==,=x", None);

        assert_eq!(version, "7");
        let wanted = [("where", "pre prod, left"), ("odd", "%ff"), ("base64", "YQ==")];
        assert_eq!(others, wanted.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(described("", None).1, build_versions::VERSION);
    }
}
