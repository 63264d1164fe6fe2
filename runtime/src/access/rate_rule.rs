//! A rate limit as configured: how many requests in which time, and whose requests count together.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use http::HeaderName;

/// How many requests pass in which time, and which requests count together.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct RateRule {
    /// How fast requests pass for long.
    pub rate: Rate,
    /// How many requests pass at once.
    pub burst: NonZeroU32,
    /// Which requests count together.
    pub by: RateKey,
}

/// A number of requests per unit of time: `10/s`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Rate {
    /// The number of requests.
    pub count: NonZeroU32,
    /// The unit of time.
    pub unit: RateUnit,
}

/// A unit of time.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum RateUnit {
    /// `s`
    Second,
    /// `m`
    Minute,
    /// `h`
    Hour,
    /// `d`
    Day,
}

/// Which requests count together.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum RateKey {
    /// The requests of one client address. An IPv6 address counts as its 64-bit network.
    Address,
    /// The requests of one user, whom a gate names. Requests without a user count together.
    User,
    /// The requests with the same value of this field. Requests without the field count together. So do requests with
    /// several values, because servers differ in which value they take.
    Header(HeaderName),
    /// All requests.
    All,
}

/// The most requests of a rate and of a burst: more per second is no limit.
pub const MOST_REQUESTS: u32 = 1_000_000;

impl Rate {
    /// Returns the time in which one request becomes possible.
    pub fn interval(self) -> Duration {
        let unit = match self.unit {
            RateUnit::Second => 1,
            RateUnit::Minute => 60,
            RateUnit::Hour => 60 * 60,
            RateUnit::Day => 24 * 60 * 60,
        };
        Duration::from_secs(unit) / self.count.get()
    }
}

impl RateKey {
    /// Reports whether requests count before the gates of their route. A field and a user mean something only once the
    /// gates have checked them.
    pub fn counts_before_gates(&self) -> bool {
        match self {
            RateKey::Address | RateKey::All => true,
            RateKey::User | RateKey::Header(_) => false,
        }
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Rate, String> {
        let wanted = || {
            format!(
                "wanted a rate from \"1/d\" to \"{MOST_REQUESTS}/s\" such as \"10/s\" or \"100/m\", found {text:?}"
            )
        };
        let (count, unit) = text.split_once('/').ok_or_else(wanted)?;
        let unit = match unit {
            "s" => RateUnit::Second,
            "m" => RateUnit::Minute,
            "h" => RateUnit::Hour,
            "d" => RateUnit::Day,
            _ => return Err(wanted()),
        };
        let digits = count.bytes().all(|byte| byte.is_ascii_digit());
        let count = count.parse().ok().filter(|count: &NonZeroU32| digits && count.get() <= MOST_REQUESTS);
        Ok(Rate { count: count.ok_or_else(wanted)?, unit })
    }
}

impl FromStr for RateKey {
    type Err = String;

    fn from_str(text: &str) -> Result<RateKey, String> {
        match text {
            "address" => Ok(RateKey::Address),
            "user" => Ok(RateKey::User),
            "all" => Ok(RateKey::All),
            _ => {
                let name = text.strip_prefix("header:").and_then(|name| name.parse().ok());
                let wanted =
                    || format!("wanted \"address\", \"user\", \"header:NAME\" or \"all\", found {text:?}");
                name.map(RateKey::Header).ok_or_else(wanted)
            }
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.unit {
            RateUnit::Second => "s",
            RateUnit::Minute => "m",
            RateUnit::Hour => "h",
            RateUnit::Day => "d",
        };
        write!(f, "{}/{unit}", self.count)
    }
}

impl fmt::Display for RateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RateKey::Address => f.write_str("address"),
            RateKey::User => f.write_str("user"),
            RateKey::Header(name) => write!(f, "header:{name}"),
            RateKey::All => f.write_str("all"),
        }
    }
}

/// In a row: `10/s, burst 20, by address`.
impl fmt::Display for RateRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, burst {}, by {}", self.rate, self.burst, self.by)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_read_as_it_is_shown_and_anything_else_is_refused() {
        for text in ["1/d", "10/s", "100/m", "5000/h", "1000000/s"] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }
        for text in ["", "10", "0/s", "-1/s", "+1/s", "1.5/s", "10/x", "10/sec", "1000001/s", "10/ s"] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
        assert_eq!("100/m".parse::<Rate>().unwrap().interval(), Duration::from_millis(600));
    }

    #[test]
    fn a_key_is_read_as_it_is_shown() {
        for text in ["address", "all", "user", "header:x-api-key"] {
            assert_eq!(text.parse::<RateKey>().unwrap().to_string(), text);
        }
        for text in ["", "header", "header:", "header:a b", "users"] {
            assert!(text.parse::<RateKey>().is_err(), "{text}");
        }
    }
}
