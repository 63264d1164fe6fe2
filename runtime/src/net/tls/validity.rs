//! The validity period of certificates.

use std::fmt;
use x509_parser::prelude::X509Certificate;
use x509_parser::time::ASN1Time;

/// How long before expiry a certificate causes a warning, in seconds. Automatic renewal is overdue by then.
pub(super) const SOON: i64 = 14 * 24 * 60 * 60;

/// Whether a certificate is valid now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Validity {
    Valid,
    /// Valid, and soon to expire.
    Ending {
        until: String,
    },
    /// Expired.
    Over {
        since: String,
    },
    /// Not valid yet.
    Ahead {
        from: String,
    },
}

/// Returns the validity of a certificate at this moment.
pub(super) fn now(certificate: &X509Certificate<'_>) -> Validity {
    at(certificate, ASN1Time::now().timestamp())
}

fn at(certificate: &X509Certificate<'_>, now: i64) -> Validity {
    let (from, until) = (certificate.validity().not_before, certificate.validity().not_after);
    // RFC 5280 §4.1.2.5: the period includes both ends.
    if now < from.timestamp() {
        Validity::Ahead { from: moment(from) }
    } else if now > until.timestamp() {
        Validity::Over { since: moment(until) }
    } else if until.timestamp() - now < SOON {
        Validity::Ending { until: moment(until) }
    } else {
        Validity::Valid
    }
}

/// Formats a time as OpenSSL does: `Jan  2 15:04:05 2026 GMT`.
pub(super) fn moment(time: ASN1Time) -> String {
    match chrono::DateTime::from_timestamp(time.timestamp(), 0) {
        Some(time) => time.format("%b %e %H:%M:%S %Y GMT").to_string(),
        None => time.to_string(),
    }
}

impl fmt::Display for Validity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Validity::Valid => f.write_str("is valid"),
            Validity::Ending { until } => write!(f, "ends on {until}"),
            Validity::Over { since } => write!(f, "has expired on {since}: renew it"),
            Validity::Ahead { from } => {
                write!(f, "is not valid before {from}: wait, or set the clock of this machine")
            }
        }
    }
}
