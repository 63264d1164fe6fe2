//! The variable names of header fields (RFC 3875 §4.1.18).

use std::borrow::Cow;

/// Returns the variable of a field, whose name is in lower case. `None` if the field never becomes one.
///
/// Left out are fields with a variable of their own (`Content-Type`, `Content-Length`), and fields about the
/// connection, which the guest does not control. `Proxy` is left out because many libraries would send their requests
/// to `HTTP_PROXY` (CVE-2016-5385, httpoxy). Fields named by `Connection` are not left out: otherwise a client could
/// remove fields that a proxy added.
///
/// Names with characters other than letters, digits and `-` are left out as well, because `X_Real_IP` and `X-Real-IP`
/// would become the same variable.
pub(super) fn of(name: &str) -> Option<Cow<'static, str>> {
    let known = match name {
        "accept" => "HTTP_ACCEPT",
        "accept-charset" => "HTTP_ACCEPT_CHARSET",
        "accept-encoding" => "HTTP_ACCEPT_ENCODING",
        "accept-language" => "HTTP_ACCEPT_LANGUAGE",
        "access-control-request-headers" => "HTTP_ACCESS_CONTROL_REQUEST_HEADERS",
        "access-control-request-method" => "HTTP_ACCESS_CONTROL_REQUEST_METHOD",
        "authorization" => "HTTP_AUTHORIZATION",
        "cache-control" => "HTTP_CACHE_CONTROL",
        "content-encoding" => "HTTP_CONTENT_ENCODING",
        "content-language" => "HTTP_CONTENT_LANGUAGE",
        "cookie" => "HTTP_COOKIE",
        "date" => "HTTP_DATE",
        "dnt" => "HTTP_DNT",
        "expect" => "HTTP_EXPECT",
        "forwarded" => "HTTP_FORWARDED",
        "from" => "HTTP_FROM",
        "host" => "HTTP_HOST",
        "if-match" => "HTTP_IF_MATCH",
        "if-modified-since" => "HTTP_IF_MODIFIED_SINCE",
        "if-none-match" => "HTTP_IF_NONE_MATCH",
        "if-range" => "HTTP_IF_RANGE",
        "if-unmodified-since" => "HTTP_IF_UNMODIFIED_SINCE",
        "last-event-id" => "HTTP_LAST_EVENT_ID",
        "max-forwards" => "HTTP_MAX_FORWARDS",
        "origin" => "HTTP_ORIGIN",
        "pragma" => "HTTP_PRAGMA",
        "priority" => "HTTP_PRIORITY",
        "range" => "HTTP_RANGE",
        "referer" => "HTTP_REFERER",
        "sec-ch-ua" => "HTTP_SEC_CH_UA",
        "sec-ch-ua-mobile" => "HTTP_SEC_CH_UA_MOBILE",
        "sec-ch-ua-platform" => "HTTP_SEC_CH_UA_PLATFORM",
        "sec-fetch-dest" => "HTTP_SEC_FETCH_DEST",
        "sec-fetch-mode" => "HTTP_SEC_FETCH_MODE",
        "sec-fetch-site" => "HTTP_SEC_FETCH_SITE",
        "sec-fetch-user" => "HTTP_SEC_FETCH_USER",
        "traceparent" => "HTTP_TRACEPARENT",
        "tracestate" => "HTTP_TRACESTATE",
        "upgrade-insecure-requests" => "HTTP_UPGRADE_INSECURE_REQUESTS",
        "user-agent" => "HTTP_USER_AGENT",
        "via" => "HTTP_VIA",
        "x-forwarded-for" => "HTTP_X_FORWARDED_FOR",
        "x-forwarded-host" => "HTTP_X_FORWARDED_HOST",
        "x-forwarded-proto" => "HTTP_X_FORWARDED_PROTO",
        "x-request-id" => "HTTP_X_REQUEST_ID",
        "x-requested-with" => "HTTP_X_REQUESTED_WITH",
        "connection" | "content-length" | "content-type" | "keep-alive" | "proxy" | "te" | "trailer"
        | "transfer-encoding" | "upgrade" => return None,
        other => return made(other).map(Cow::Owned),
    };
    Some(Cow::Borrowed(known))
}

fn made(name: &str) -> Option<String> {
    if name.starts_with("proxy-") || name.is_empty() {
        return None;
    }
    let mut variable = String::with_capacity("HTTP_".len() + name.len());
    variable.push_str("HTTP_");
    for byte in name.bytes() {
        variable.push(match byte {
            b'-' => '_',
            b'a'..=b'z' | b'0'..=b'9' => byte.to_ascii_uppercase().into(),
            _ => return None,
        });
    }
    Some(variable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_name_that_could_be_taken_for_another_is_no_variable() {
        for name in
            ["x_real_ip", "x.y", "a!b", "x'y", "", "proxy", "proxy-authorization", "te", "content-length"]
        {
            assert_eq!(of(name), None, "{name}");
        }
        assert_eq!(of("x-real-ip").as_deref(), Some("HTTP_X_REAL_IP"));
        assert_eq!(of("proxying").as_deref(), Some("HTTP_PROXYING"));
    }

    #[test]
    fn the_table_says_what_the_rule_says() {
        let source = include_str!("variable.rs");
        let rows: Vec<(&str, &str)> = source
            .lines()
            .filter_map(|line| line.trim().strip_prefix('"')?.strip_suffix("\",")?.split_once("\" => \""))
            .collect();

        assert!(rows.len() > 40);
        for (name, variable) in rows {
            assert_eq!(made(name).as_deref(), Some(variable));
        }
    }

    proptest! {
        #[test]
        fn no_two_fields_share_a_variable(one in "[a-z0-9_.-]{1,6}", other in "[a-z0-9_.-]{1,6}") {
            prop_assume!(one != other);
            if let (Some(one), Some(other)) = (of(&one), of(&other)) {
                prop_assert_ne!(one, other);
            }
        }
    }
}
