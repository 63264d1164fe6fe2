//! Reads `[traces]`: where spans go, and which.

use super::model::Ca;
use super::reader::Keyed;
use super::report::Diagnostics;
use super::trace_schema::WrittenTraces;
use crate::observe::traces::{TraceOptions, TraceSettings, TraceTrust};

/// Reads the table. `ca` holds the certificates of `[outbound]`, which a collector may have as well.
pub(super) fn read(
    written: Option<&Keyed<WrittenTraces>>,
    ca: Option<&Ca>,
    report: &Diagnostics<'_>,
) -> TraceOptions {
    let ca = ca.map(|ca| ca.pem.clone());
    let Some(Keyed { value: traces, .. }) = written else {
        return TraceOptions { ca, ..TraceOptions::default() };
    };
    TraceOptions {
        is_set: true,
        endpoint: report.settle(traces.endpoint.as_ref(), None, |url| {
            TraceSettings::url(url)?;
            Ok(Some(url.clone()))
        }),
        ratio: report.settle(traces.ratio.as_ref(), None, |ratio| match ratio.0 {
            ratio if (0.0..=1.0).contains(&ratio) => Ok(Some(ratio)),
            ratio => Err(format!("wanted a number from 0 to 1, found {ratio}")),
        }),
        trust: report.settle(traces.trust.as_ref(), TraceTrust::default(), |word| match word.as_str() {
            "trusted_proxies" => Ok(TraceTrust::TrustedProxies),
            "everybody" => Ok(TraceTrust::Everybody),
            "nobody" => Ok(TraceTrust::Nobody),
            other => Err(format!("wanted \"trusted_proxies\", \"everybody\" or \"nobody\", found {other:?}")),
        }),
        ca,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::parse;

    fn read(text: &str) -> Result<TraceOptions, String> {
        parse(text, Path::new("/nowhere"), "p.toml")
            .map(|config| config.traces)
            .map_err(|errors| errors.to_string())
    }

    #[test]
    fn traces_are_off_without_the_table_and_complete_with_it() {
        assert_eq!(read("").unwrap(), TraceOptions::default());
        let text = "[traces]\nendpoint = \"http://127.0.0.1:4318\"\nratio = 0.25\ntrust = \"everybody\"\n";
        let wanted = TraceOptions {
            is_set: true,
            endpoint: Some("http://127.0.0.1:4318".to_owned()),
            ratio: Some(0.25),
            trust: TraceTrust::Everybody,
            ca: None,
        };
        assert_eq!(read(text).unwrap(), wanted);
        assert_eq!(read("[traces]\nratio = 1\n").unwrap().ratio, Some(1.0));
    }

    #[test]
    fn what_is_no_collector_no_share_and_no_client_is_refused() {
        for (key, value, told) in [
            ("endpoint", "\"127.0.0.1:4318\"", "traces.endpoint: wanted http://HOST:PORT"),
            ("endpoint", "\"http://127.0.0.1:4317\"", "gRPC, which is not spoken"),
            ("endpoint", "\"http://a:b@c\"", "OTEL_EXPORTER_OTLP_HEADERS"),
            ("ratio", "1.5", "traces.ratio: wanted a number from 0 to 1, found 1.5"),
            ("ratio", "nan", "wanted a number from 0 to 1"),
            ("ratio", "\"10%\"", "wanted a number such as 0.1, found the string"),
            ("trust", "\"all\"", "traces.trust: wanted \"trusted_proxies\""),
            ("headers", "\"a\"", "unknown key"),
        ] {
            let refusal = read(&format!("[traces]\n{key} = {value}\n")).unwrap_err();
            assert!(refusal.contains(told), "{key} = {value}: {refusal}");
        }
    }
}
