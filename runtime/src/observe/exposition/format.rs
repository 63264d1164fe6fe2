//! `ExpositionFormat`: the formats of metrics, and which of them a scraper gets.

use super::families::Exposition;
use super::{protobuf, text};

/// The parameters that stand with the media type of protobuf. A scraper that wants another message or another encoding
/// has other ones.
const MESSAGE: [(&str, &str); 2] =
    [("proto", "io.prometheus.client.MetricFamily"), ("encoding", "delimited")];

/// A format of the exposition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ExpositionFormat {
    /// The text format of Prometheus, version 0.0.4. It has no exemplars.
    Text,
    /// OpenMetrics 1.0, as text.
    OpenMetrics,
    /// The protobuf format of Prometheus, the only one with native histograms.
    Protobuf,
}

impl ExpositionFormat {
    /// Chooses the format for the `Accept` field of a scraper, whose lines are joined by commas. Protobuf is chosen only if
    /// the field names it and prefers it to the other two. OpenMetrics is chosen only if the field names it, and prefers the
    /// text format no more. A field with `*/*` accepts the text format, which is the default.
    pub fn accepted(field: &str) -> ExpositionFormat {
        let quality = |media: &str, parameters: &[(&str, &str)]| {
            field.split(',').filter_map(|range| quality_of(range, media, parameters)).reduce(f32::max)
        };
        // The most specific range counts (RFC 9110 §12.5.1).
        let text = ["text/plain", "text/*", "*/*"].into_iter().find_map(|range| quality(range, &[]));
        let text = text.unwrap_or(0.0);
        let openmetrics = quality("application/openmetrics-text", &[]).unwrap_or(0.0);
        let protobuf = quality("application/vnd.google.protobuf", &MESSAGE).unwrap_or(0.0);
        if protobuf > text.max(openmetrics) {
            ExpositionFormat::Protobuf
        } else if openmetrics > 0.0 && openmetrics >= text {
            ExpositionFormat::OpenMetrics
        } else {
            ExpositionFormat::Text
        }
    }

    /// Returns the media type.
    pub fn content_type(self) -> &'static str {
        match self {
            ExpositionFormat::Text => text::CONTENT_TYPE,
            ExpositionFormat::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            ExpositionFormat::Protobuf => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
            }
        }
    }

    /// Writes the families.
    pub fn encode(self, exposition: Exposition) -> Vec<u8> {
        match self {
            ExpositionFormat::Text => text::encode(exposition).into_bytes(),
            ExpositionFormat::OpenMetrics => text::encode_openmetrics(exposition).into_bytes(),
            ExpositionFormat::Protobuf => protobuf::encode(exposition),
        }
    }
}

/// Returns the quality of a media range (RFC 9110 §12.5.1), if it names this media type with these parameters. It is 0 if
/// its weight is none of those from 0 to 1 (§12.4.2).
fn quality_of(range: &str, media: &str, parameters: &[(&str, &str)]) -> Option<f32> {
    let mut parts = range.split(';').map(str::trim);
    parts.next().filter(|named| named.eq_ignore_ascii_case(media))?;
    let named: Vec<(&str, &str)> = parts.filter_map(|part| part.split_once('=')).collect();
    let value = |wanted: &str| {
        let (_, value) = named.iter().find(|(name, _)| name.trim().eq_ignore_ascii_case(wanted))?;
        Some(value.trim().trim_matches('"'))
    };
    let is_it = parameters.iter().all(|(name, wanted)| value(name) == Some(*wanted));
    let weight =
        |text: &str| text.parse::<f32>().ok().filter(|weight| (0.0..=1.0).contains(weight)).unwrap_or(0.0);
    is_it.then(|| value("q").map_or(1.0, weight))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openmetrics_is_for_scrapers_that_name_it_and_prefer_nothing_else() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.6,application/openmetrics-text;\
                          version=0.0.1;q=0.5,text/plain;version=0.0.4;q=0.4,*/*;q=0.2";
        for (field, wanted) in [
            ("", ExpositionFormat::Text),
            ("*/*", ExpositionFormat::Text),
            (prometheus, ExpositionFormat::OpenMetrics),
            ("application/openmetrics-text", ExpositionFormat::OpenMetrics),
            ("application/openmetrics-text, */*", ExpositionFormat::OpenMetrics),
            ("application/openmetrics-text;q=0.5, text/plain;q=0.4, */*", ExpositionFormat::OpenMetrics),
            ("text/plain, application/openmetrics-text;q=0.5", ExpositionFormat::Text),
            ("application/openmetrics-text;q=0.5, */*", ExpositionFormat::Text),
            ("application/openmetrics-text;q=0.5, text/*;q=0.6, */*;q=0.1", ExpositionFormat::Text),
            ("application/openmetrics-text;q=0", ExpositionFormat::Text),
        ] {
            assert_eq!(ExpositionFormat::accepted(field), wanted, "{field:?}");
        }
    }

    #[test]
    fn protobuf_is_for_scrapers_that_name_its_message_and_its_encoding_and_prefer_it() {
        const NAMED: &str =
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";
        // As Prometheus 2.42 and 3.14 ask for native histograms.
        let older = format!(
            "{NAMED},application/openmetrics-text;version=1.0.0;q=0.8,application/openmetrics-text;\
             version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
        );
        let newer = format!(
            "{NAMED};q=0.6,application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
             application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;\
             q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
        );
        let spaced = "Application/Vnd.Google.Protobuf; Encoding=delimited; \
                      proto=\"io.prometheus.client.MetricFamily\"; q=0.7, text/plain;q=0.3";
        for field in [NAMED, older.as_str(), newer.as_str(), spaced] {
            assert_eq!(ExpositionFormat::accepted(field), ExpositionFormat::Protobuf, "{field}");
        }
        for (field, wanted) in [
            (format!("{NAMED};q=0.5, application/openmetrics-text;q=0.6"), ExpositionFormat::OpenMetrics),
            (format!("{NAMED}, application/openmetrics-text"), ExpositionFormat::OpenMetrics),
            (format!("{NAMED};q=0.5, text/plain;q=0.6"), ExpositionFormat::Text),
            (format!("{NAMED}, text/plain"), ExpositionFormat::Text),
            (format!("{NAMED};q=0"), ExpositionFormat::Text),
            (format!("{NAMED};q=0.5, */*"), ExpositionFormat::Text),
            (format!("{NAMED};q=much"), ExpositionFormat::Text),
            (format!("{NAMED};q=7, text/plain"), ExpositionFormat::Text),
            (format!("{NAMED};q=inf"), ExpositionFormat::Text),
            (format!("{NAMED};q=NaN, text/plain;q=0.1"), ExpositionFormat::Text),
            (NAMED.replace("delimited", "text"), ExpositionFormat::Text),
            (NAMED.replace("MetricFamily", "Metric"), ExpositionFormat::Text),
            ("application/vnd.google.protobuf".to_owned(), ExpositionFormat::Text),
            (";;q=,=;proto".to_owned(), ExpositionFormat::Text),
        ] {
            assert_eq!(ExpositionFormat::accepted(&field), wanted, "{field}");
        }
    }
}
