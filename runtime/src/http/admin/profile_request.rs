//! The query of a request for a profile: its length, its format, and what a heap profile counts.

use std::time::Duration;

use tokio::task::spawn_blocking;

use crate::http::refusal::Refusal;

/// The longest profile, in seconds. Its client waits for it.
const LONGEST: u64 = 300;

/// The length of a profile if the query names none, in seconds.
const USUAL: u64 = 10;

/// The content type of text.
pub(super) const TEXT: &str = "text/plain; charset=utf-8";

/// A profile as it is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ProfileRequest {
    pub(super) time: Duration,
    pub(super) format: ProfileFormat,
    /// `None` if the query does not say.
    pub(super) of: Option<HeapMeasure>,
}

/// The format of a profile.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ProfileFormat {
    /// A stack and its count a line, as flame graph tools read it.
    Collapsed,
    /// A flame graph for browsers.
    Svg,
    /// The protocol buffer of pprof.
    Pprof,
    /// The JSON of the Firefox Profiler.
    Firefox,
}

/// What a heap profile counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum HeapMeasure {
    /// The bytes that are not freed at its end.
    Held,
    /// All bytes.
    Allocated,
}

impl ProfileRequest {
    /// Parses `seconds=10&format=svg&of=held`, in any order.
    ///
    /// # Errors
    /// A key or value is unknown, or the time is not a number of seconds within the bounds.
    pub(super) fn parse(query: &str) -> Result<ProfileRequest, Refusal> {
        let malformed = || {
            Refusal::Malformed(format!(
                "wanted ?seconds=N, N from 1 to {LONGEST}, format=collapsed, svg, pprof or firefox, and for the heap \
                 of=held or allocated"
            ))
        };
        let (time, format) = (Duration::from_secs(USUAL), ProfileFormat::Collapsed);
        let mut request = ProfileRequest { time, format, of: None };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("seconds", text)) => {
                    let seconds = text.parse().ok().filter(|seconds| (1..=LONGEST).contains(seconds));
                    request.time = Duration::from_secs(seconds.ok_or_else(malformed)?);
                }
                Some(("format", name)) => {
                    request.format = ProfileFormat::of(name).ok_or_else(malformed)?;
                }
                Some(("of", "held")) => request.of = Some(HeapMeasure::Held),
                Some(("of", "allocated")) => request.of = Some(HeapMeasure::Allocated),
                Some(_) | None => return Err(malformed()),
            }
        }
        Ok(request)
    }
}

impl ProfileFormat {
    fn of(name: &str) -> Option<ProfileFormat> {
        match name {
            "collapsed" => Some(ProfileFormat::Collapsed),
            "svg" => Some(ProfileFormat::Svg),
            "pprof" => Some(ProfileFormat::Pprof),
            "firefox" => Some(ProfileFormat::Firefox),
            _ => None,
        }
    }

    /// Returns the content type.
    pub(super) fn content_type(self) -> &'static str {
        match self {
            ProfileFormat::Collapsed => TEXT,
            ProfileFormat::Svg => "image/svg+xml",
            // As Go's net/http/pprof says.
            ProfileFormat::Pprof => "application/octet-stream",
            ProfileFormat::Firefox => "application/json",
        }
    }
}

/// Writes a profile on a thread of its own.
///
/// # Errors
/// It cannot be written in its format.
pub(super) async fn write_profile(
    write: impl FnOnce() -> anyhow::Result<Vec<u8>> + Send + 'static,
) -> Result<Vec<u8>, Refusal> {
    match spawn_blocking(write).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) => Err(Refusal::Malformed(format!("{error:#}"))),
        Err(_) => Err(Refusal::Internal),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_whole_seconds_within_bounds_and_a_format_is_known() {
        let read = |query| ProfileRequest::parse(query).ok();
        let wanted =
            |seconds, format| Some(ProfileRequest { time: Duration::from_secs(seconds), format, of: None });

        assert_eq!(read(""), wanted(10, ProfileFormat::Collapsed));
        assert_eq!(read("seconds=300"), wanted(300, ProfileFormat::Collapsed));
        assert_eq!(read("format=svg&seconds=1"), wanted(1, ProfileFormat::Svg));
        assert_eq!(read("format=pprof"), wanted(10, ProfileFormat::Pprof));
        assert_eq!(read("of=held").and_then(|request| request.of), Some(HeapMeasure::Held));
        for query in [
            "seconds=0",
            "seconds=301",
            "seconds=1.5",
            "seconds=",
            "time=1",
            "seconds=-1",
            "format=png",
            "x",
            "of=",
            "of=cpu",
        ] {
            assert_eq!(read(query), None, "{query}");
        }
    }
}
