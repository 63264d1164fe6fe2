//! Content codings of responses, and the choice by `Accept-Encoding`.

use http::header::ACCEPT_ENCODING;
use http::{HeaderMap, HeaderValue};

/// A content coding (RFC 9110 §8.4.1, RFC 7932, RFC 8878).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Coding {
    /// Zstandard.
    Zstd,
    /// Brotli.
    Br,
    /// gzip.
    Gzip,
}

/// A quality of `Accept-Encoding` in thousandths; 0 refuses.
type Quality = u16;

impl Coding {
    /// All codings, in the order of their size for the usual text.
    pub const ALL: [Coding; 3] = [Coding::Zstd, Coding::Br, Coding::Gzip];

    /// Returns its name in `Content-Encoding`.
    pub fn name(self) -> &'static str {
        match self {
            Coding::Zstd => "zstd",
            Coding::Br => "br",
            Coding::Gzip => "gzip",
        }
    }

    /// Returns the usual extension of files in this coding.
    pub fn extension(self) -> &'static str {
        match self {
            Coding::Zstd => ".zst",
            Coding::Br => ".br",
            Coding::Gzip => ".gz",
        }
    }

    /// Returns the value of `Content-Encoding`.
    pub fn value(self) -> HeaderValue {
        HeaderValue::from_static(self.name())
    }

    /// Iterates over the offered codings that a request accepts, the preferred first: by the quality that the client
    /// gives (RFC 9110 §12.5.3), then by the order of the offer. Codings that the client likes less than no coding are
    /// left out. A request without `Accept-Encoding` accepts none here, although it would take any.
    pub fn accepted(request: &HeaderMap, offered: &[Coding]) -> impl Iterator<Item = Coding> + use<> {
        let mut rated = [None; Coding::ALL.len()];
        if request.contains_key(ACCEPT_ENCODING) {
            let identity = quality(request, "identity").unwrap_or(1);
            for (place, coding) in rated.iter_mut().zip(offered) {
                let quality = quality(request, coding.name()).filter(|quality| *quality > 0);
                *place = quality.filter(|quality| *quality >= identity).map(|quality| (quality, *coding));
            }
            // Stable, so the order of the offer decides between equal qualities.
            rated.sort_by_key(|rated| std::cmp::Reverse(rated.map(|(quality, _)| quality)));
        }
        rated.into_iter().flatten().map(|(_, coding)| coding)
    }
}

/// Returns the quality that a request gives to a coding, by its name or by `*`. `None` if it gives none. Members that
/// are invalid count as 0.
fn quality(request: &HeaderMap, coding: &str) -> Option<Quality> {
    let mut any = None;
    let values = request.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    for member in values.flat_map(|value| value.split(',')) {
        let mut parts = member.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let parameter = parts.next();
        let weight = parameter.map_or(Some(1000), weight).filter(|_| parts.next().is_none()).unwrap_or(0);
        if name.eq_ignore_ascii_case(coding) || coding == "gzip" && name.eq_ignore_ascii_case("x-gzip") {
            return Some(weight);
        }
        if name == "*" {
            any = Some(weight);
        }
    }
    any
}

/// Parses a weight: `q=0.5` (RFC 9110 §12.4.2).
fn weight(text: &str) -> Option<Quality> {
    let value = text.strip_prefix("q=").or_else(|| text.strip_prefix("Q="))?;
    let (whole, fraction) = value.split_once('.').unwrap_or((value, ""));
    let digits = fraction.bytes().all(|byte| byte.is_ascii_digit());
    if !digits || fraction.len() > 3 {
        return None;
    }
    let thousandths: Quality = format!("{fraction:0<3}").parse().ok()?;
    match whole {
        "0" => Some(thousandths),
        "1" if thousandths == 0 => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Coding::{Br, Gzip, Zstd};

    fn accepted(values: &[&'static str]) -> Vec<Coding> {
        let values = values.iter().map(|value| (ACCEPT_ENCODING, HeaderValue::from_static(value)));
        Coding::accepted(&values.collect(), &[Zstd, Br, Gzip]).collect()
    }

    #[test]
    fn the_quality_decides_and_then_the_order_of_the_offer() {
        assert_eq!(accepted(&["gzip, deflate, br, zstd"]), [Zstd, Br, Gzip]);
        assert_eq!(accepted(&["gzip;q=1.0, br;q=0.9"]), [Gzip, Br]);
        assert_eq!(accepted(&["gzip", "br"]), [Br, Gzip]);
        assert_eq!(accepted(&["GZIP;Q=0.001"]), [Gzip]);
        assert_eq!(accepted(&["x-gzip"]), [Gzip]);
    }

    #[test]
    fn a_star_stands_for_what_is_not_named() {
        assert_eq!(accepted(&["*"]), [Zstd, Br, Gzip]);
        assert_eq!(accepted(&["*;q=0.5, gzip, zstd;q=0"]), [Gzip, Br]);
        assert_eq!(accepted(&["gzip, *;q=0"]), [Gzip]);
        assert_eq!(accepted(&["identity;q=0, *"]), [Zstd, Br, Gzip]);
    }

    #[test]
    fn what_a_client_does_not_want_it_does_not_get() {
        for none in
            [&["identity"][..], &[""], &["gzip;q=0"], &["*;q=0"], &["gzip;q=0.5, identity"], &["deflate"]]
        {
            assert_eq!(accepted(none), [], "{none:?}");
        }
        assert_eq!(accepted(&[]), []);
        for invalid in ["gzip;q=2", "gzip;q=0.1234", "gzip;q=", "gzip;q=1;x=2", "gzip;level=9", "gzip;q=-1"] {
            assert_eq!(accepted(&[invalid]), [], "{invalid}");
        }
    }
}
