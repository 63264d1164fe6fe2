//! Reads settings that are one word or number, and checks their range.

use std::ops::RangeInclusive;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};

use super::memory_bound::MemoryBound;
use super::reader::{Keyed, Scalar};
use super::report::Diagnostics;
use super::units::{Mode, Size, Span};
use crate::access::OperatorRights;

/// The longest duration of a setting: far below the overflow of clocks and timers.
pub(super) const LONGEST: Duration = Duration::from_secs(366 * 24 * 60 * 60);

impl Diagnostics<'_> {
    /// Reads a setting. Returns the default if it is not set, or if it is invalid, which is reported.
    pub(super) fn settle<W, T>(
        &self,
        written: Option<&Keyed<W>>,
        default: T,
        read: impl FnOnce(&W) -> Result<T, String>,
    ) -> T {
        let Some(at) = written else { return default };
        read(&at.value).unwrap_or_else(|message| {
            self.add(at.line, &at.key, message);
            default
        })
    }
}

/// Reads a size within a range of bytes.
pub(super) fn size(range: RangeInclusive<u64>) -> impl FnOnce(&Scalar) -> Result<u64, String> {
    move |scalar| {
        let read = match scalar {
            Scalar::Text(text) => text.parse::<Size>().map_err(|error| error.to_string()),
            Scalar::Number(bytes, _) => {
                u64::try_from(*bytes).map(Size).map_err(|_| "a size that is not negative".to_owned())
            }
            Scalar::Other(_) => Err("a size such as \"128MiB\"".to_owned()),
        };
        let Size(bytes) = read.map_err(|wanted| refusal(&wanted, scalar))?;
        if range.contains(&bytes) {
            return Ok(bytes);
        }
        Err(refusal(&format!("{} to {}", Size(*range.start()), Size(*range.end())), scalar))
    }
}

/// Reads a size, or `"none"` for no limit.
pub(super) fn size_or_none(scalar: &Scalar) -> Result<u64, String> {
    match scalar {
        Scalar::Text(text) if text == "none" => Ok(u64::MAX),
        Scalar::Text(text) if text.parse::<Size>().is_err() => {
            Err(refusal("a size such as \"128MiB\", or \"none\"", scalar))
        }
        other => size(0..=u64::MAX)(other),
    }
}

/// Reads what the group of the admin socket may do.
pub(super) fn operator_rights(text: &str) -> Result<OperatorRights, String> {
    match text {
        "all" => Ok(OperatorRights::All),
        "read" => Ok(OperatorRights::Read),
        _ => Err(format!("wanted \"all\" or \"read\", found {text:?}")),
    }
}

/// Reads the memory for ended jobs. `"none"` is 0.
pub(super) fn history(scalar: &Scalar) -> Result<usize, String> {
    match scalar {
        Scalar::Text(text) if text == "none" => Ok(0),
        Scalar::Text(text) if text.parse::<Size>().is_err() => {
            Err(refusal("a size such as \"4MiB\", or \"none\"", scalar))
        }
        other => size_in_memory(64 << 10..=1 << 30)(other),
    }
}

/// Reads bytes a second, or `"none"` for no minimum.
pub(super) fn rate(scalar: &Scalar) -> Result<u64, String> {
    // More than any client's connection could be expected to reach.
    const MAX: u64 = 1 << 30;
    match scalar {
        Scalar::Text(text) if text == "none" => Ok(0),
        Scalar::Text(text) if text.parse::<Size>().is_err() => {
            Err(refusal("bytes a second such as 240 or \"1KiB\", or \"none\"", scalar))
        }
        other => size(1..=MAX)(other),
    }
}

/// Reads a size that must fit into memory, within a range of bytes.
pub(super) fn size_in_memory(range: RangeInclusive<u64>) -> impl FnOnce(&Scalar) -> Result<usize, String> {
    |scalar| {
        let bytes = size(range)(scalar)?;
        usize::try_from(bytes).map_err(|_| refusal("a size that this machine can address", scalar))
    }
}

/// Reads a limit of memory, of at least so many bytes.
pub(super) fn memory_bound(scalar: &Scalar, least: u64) -> Result<MemoryBound, String> {
    match scalar {
        Scalar::Text(text) if text == "auto" => Ok(MemoryBound::Auto),
        Scalar::Text(text) if text == "none" => Ok(MemoryBound::Unlimited),
        Scalar::Text(text) if text.parse::<Size>().is_err() => {
            Err(format!("wanted a size such as \"4GiB\", \"auto\" or \"none\", found {text:?}"))
        }
        other => size_in_memory(least..=1 << 50)(other).map(MemoryBound::Bytes),
    }
}

/// Reads a duration; 0 is allowed.
pub(super) fn duration(scalar: &Scalar) -> Result<Duration, String> {
    let read = match scalar {
        Scalar::Text(text) => text.parse::<Span>().map_err(|error| error.to_string()),
        Scalar::Number(number, _) => {
            Err(format!("a unit: write \"{number}s\" for seconds, \"{number}ms\" for milliseconds"))
        }
        Scalar::Other(_) => Err("a duration such as \"30s\"".to_owned()),
    };
    let Span(duration) = read.map_err(|wanted| refusal(&wanted, scalar))?;
    if duration > LONGEST {
        return Err(refusal(&format!("{} at most", Span(LONGEST)), scalar));
    }
    Ok(duration)
}

/// Reads a duration of more than 0.
pub(super) fn deadline(scalar: &Scalar) -> Result<Duration, String> {
    let duration = duration(scalar)?;
    if duration.is_zero() { Err(refusal("more than 0", scalar)) } else { Ok(duration) }
}

/// Reads a duration of more than 0, or `"none"`.
pub(super) fn deadline_or_none(scalar: &Scalar) -> Result<Option<Duration>, String> {
    match scalar {
        Scalar::Text(text) if text == "none" => Ok(None),
        other => match duration(other) {
            Ok(duration) if duration.is_zero() => Err(refusal("more than 0, or \"none\"", scalar)),
            read => read.map(Some),
        },
    }
}

/// Reads a whole number within a range.
pub(super) fn count(range: RangeInclusive<usize>) -> impl FnOnce(&Scalar) -> Result<usize, String> {
    move |scalar| {
        let count = match scalar {
            Scalar::Number(number, _) => {
                usize::try_from(*number).ok().filter(|number| range.contains(number))
            }
            Scalar::Text(_) | Scalar::Other(_) => None,
        };
        let wanted = || format!("a whole number from {} to {}", range.start(), range.end());
        count.ok_or_else(|| refusal(&wanted(), scalar))
    }
}

/// Reads permissions. A decimal number is refused, because 660 would be 01224.
pub(super) fn mode(scalar: &Scalar) -> Result<u32, String> {
    let wanted = "octal permissions such as \"0660\"";
    match scalar {
        Scalar::Text(text) => {
            text.parse::<Mode>().map(|Mode(mode)| mode).map_err(|_| refusal(wanted, scalar))
        }
        Scalar::Number(number @ 0..=0o777, 8) => u32::try_from(*number).map_err(|_| refusal(wanted, scalar)),
        Scalar::Number(..) | Scalar::Other(_) => Err(refusal(wanted, scalar)),
    }
}

/// Reads a group: its name, or its number.
pub(super) fn group(scalar: &Scalar) -> Result<Option<String>, String> {
    match scalar {
        Scalar::Text(text) if !text.is_empty() && !text.contains(['\0', ':', '\n']) => Ok(Some(text.clone())),
        // chown(2): the largest number means "do not change".
        Scalar::Number(number, 10) if (0..i128::from(u32::MAX)).contains(number) => {
            Ok(Some(number.to_string()))
        }
        Scalar::Text(_) | Scalar::Number(..) | Scalar::Other(_) => {
            Err(refusal("the name or number of a group", scalar))
        }
    }
}

/// Reads a method.
///
/// # Errors
/// The text is not a method in capitals. `get` would be another method (RFC 9110 §9.1).
pub(super) fn method(text: &str) -> Result<Method, String> {
    let method = Method::from_bytes(text.as_bytes()).ok();
    let capitals = method.filter(|_| !text.bytes().any(|byte| byte.is_ascii_lowercase()));
    capitals.ok_or_else(|| format!("wanted a method in capitals such as \"GET\", found {text:?}"))
}

/// Checks the name of a header field.
pub(super) fn header(text: &str) -> Result<(), String> {
    let name = text.parse::<HeaderName>();
    name.map(|_| ()).map_err(|_| format!("wanted the name of a header field, found {text:?}"))
}

/// Reads an origin as browsers send it (RFC 6454 §6.2): scheme, host, and the port unless it is the default.
pub(super) fn origin(text: &str, beside_all: bool) -> Result<HeaderValue, String> {
    if beside_all && text == "*" {
        return Err("\"*\" means every origin: write it alone, or leave it out".to_owned());
    }
    let wanted =
        || format!("wanted an origin such as \"https://app.example\", without a path, found {text:?}");
    let host = match text.split_once("://") {
        Some((scheme, host))
            if !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_lowercase()) =>
        {
            host
        }
        _ if text == "*" => text,
        _ => return Err(wanted()),
    };
    let printable = |byte: u8| byte.is_ascii_graphic() && !byte.is_ascii_uppercase();
    if host.is_empty() || !host.bytes().all(printable) || host.contains(['/', '?', '#', '@', ',']) {
        return Err(wanted());
    }
    HeaderValue::from_str(text).map_err(|_| wanted())
}

/// Reads the arguments of a program.
pub(super) fn args(written: &[Keyed<String>], report: &Diagnostics<'_>) -> Vec<String> {
    let sound = |text: &String| match text.contains('\0') {
        true => Err("an argument cannot hold a NUL character".to_owned()),
        false => Ok(Some(text.clone())),
    };
    written.iter().filter_map(|at| report.settle(Some(at), None, sound)).collect()
}

/// Shows a value in an error.
pub(super) fn shown(found: &Scalar) -> String {
    match found {
        Scalar::Text(text) => format!("{:?}", text.chars().take(48).collect::<String>()),
        Scalar::Number(number, _) => number.to_string(),
        Scalar::Other(found) => found.clone(),
    }
}

fn refusal(wanted: &str, found: &Scalar) -> String {
    match found {
        Scalar::Text(text) => {
            format!("wanted {wanted}, found {:?}", text.chars().take(48).collect::<String>())
        }
        Scalar::Number(number, 8) => format!("wanted {wanted}, found {number:#o}"),
        Scalar::Number(number, _) => format!("wanted {wanted}, found {number}"),
        Scalar::Other(found) => format!("wanted {wanted}, found {found}"),
    }
}
