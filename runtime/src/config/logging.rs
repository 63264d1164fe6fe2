//! Reads the keys of logging: `log`, `access_log`, `access_log_file` and `mask_query`.

use std::path::{Path, PathBuf};

use super::reader::{Keyed, SwitchOrWord};
use super::report::Diagnostics;
use super::schema::File;
use crate::observe::QueryMask;
use crate::observe::access_file::AccessLogFormat;
use crate::observe::log_format::LogFormat;

/// The most names of `mask_query`. Each parameter of a logged URL is compared with all of them.
const MOST_MASKED: usize = 64;

/// The settings of the log and of the access log.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Logging {
    /// The format of the log.
    pub format: LogFormat,
    /// How requests are logged. `None` does not log them.
    pub access_log: Option<AccessLogFormat>,
    /// The file of the access log. `None` means stderr.
    pub access_log_file: Option<PathBuf>,
    /// The query parameters whose values are not logged.
    pub mask_query: QueryMask,
}

/// Reads the keys. A relative path starts at the directory of the file.
pub(super) fn read(file: &File, base: &Path, report: &Diagnostics<'_>) -> Logging {
    let access_log = report.settle(file.access_log.as_ref(), None, format);
    if let Some(at) = file.access_log_file.as_ref().filter(|_| access_log.is_none()) {
        report.add(
            at.line,
            &at.key,
            "needs access_log: set it to true, \"common\", \"combined\" or \"json\"",
        );
    }
    Logging {
        format: report.settle(file.log.as_ref(), LogFormat::Text, |word| match word.as_str() {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            other => Err(format!("wanted \"text\" or \"json\", found {other:?}")),
        }),
        access_log,
        access_log_file: report.settle(file.access_log_file.as_ref(), None, |path| match path.as_str() {
            "" => Err("wanted a file, found \"\"".to_owned()),
            path if path.contains('\0') => Err("wanted a file, found a NUL in it".to_owned()),
            path => Ok(Some(base.join(path))),
        }),
        mask_query: masked(file.mask_query.as_ref(), report),
    }
}

fn format(written: &SwitchOrWord) -> Result<Option<AccessLogFormat>, String> {
    const WANTED: &str = "wanted true, false, \"common\", \"combined\" or \"json\"";
    match written {
        SwitchOrWord::Switch(false) => Ok(None),
        SwitchOrWord::Switch(true) => Ok(Some(AccessLogFormat::Text)),
        SwitchOrWord::Word(word) => match word.as_str() {
            "common" => Ok(Some(AccessLogFormat::Common)),
            "combined" => Ok(Some(AccessLogFormat::Combined)),
            "json" => Ok(Some(AccessLogFormat::Json)),
            other => Err(format!("{WANTED}, found {other:?}")),
        },
        SwitchOrWord::Other(found) => Err(format!("{WANTED}, found {found}")),
    }
}

fn masked(written: Option<&Keyed<Vec<Keyed<String>>>>, report: &Diagnostics<'_>) -> QueryMask {
    let Some(list) = written else { return QueryMask::default() };
    if list.value.len() > MOST_MASKED {
        report.add(list.line, &list.key, format!("{} names: at most {MOST_MASKED}", list.value.len()));
        return QueryMask::default();
    }
    for (position, at) in list.value.iter().enumerate() {
        if at.value.is_empty() {
            report.add(at.line, &at.key, "wanted the name of a query parameter, found \"\"");
        } else if list.value[..position].iter().any(|earlier| earlier.value == at.value) {
            report.add(at.line, &at.key, format!("{:?} is in this list already", at.value));
        }
    }
    QueryMask::new(list.value.iter().map(|at| at.value.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    fn read(text: &str) -> Result<Logging, String> {
        parse(text, Path::new("/etc/p"), "p.toml")
            .map(|config| config.logging)
            .map_err(|errors| errors.to_string())
    }

    #[test]
    fn the_log_and_the_access_log_have_formats_of_their_own() {
        assert_eq!(read("").unwrap(), Logging::default());
        let all = "log = \"json\"\naccess_log = \"combined\"\naccess_log_file = \"access.log\"\n\
                   mask_query = [\"token\"]\n";
        let wanted = Logging {
            format: LogFormat::Json,
            access_log: Some(AccessLogFormat::Combined),
            access_log_file: Some("/etc/p/access.log".into()),
            mask_query: QueryMask::new(["token".to_owned()]),
        };
        assert_eq!(read(all).unwrap(), wanted);
        assert_eq!(read("access_log = true\n").unwrap().access_log, Some(AccessLogFormat::Text));
        assert_eq!(read("access_log = false\n").unwrap().access_log, None);
    }

    #[test]
    fn a_word_that_is_no_format_is_refused_with_the_formats() {
        for (text, told) in [
            ("log = \"xml\"\n", "log: wanted \"text\" or \"json\", found \"xml\""),
            (
                "access_log = \"yes\"\n",
                "wanted true, false, \"common\", \"combined\" or \"json\", found \"yes\"",
            ),
            ("access_log = 1\n", "found the integer 1"),
            ("access_log_file = \"a\"\n", "access_log_file: needs access_log"),
            ("access_log = true\naccess_log_file = \"\"\n", "wanted a file, found \"\""),
            ("mask_query = [\"\"]\n", "wanted the name of a query parameter"),
            ("mask_query = [\"a\", \"a\"]\n", "\"a\" is in this list already"),
        ] {
            let refusal = read(text).unwrap_err();
            assert!(refusal.contains(told), "{text}: {refusal}");
        }
        let many: Vec<String> = (0..=MOST_MASKED).map(|number| format!("\"{number}\"")).collect();
        let refusal = read(&format!("mask_query = [{}]\n", many.join(","))).unwrap_err();
        assert!(refusal.contains("65 names: at most 64"), "{refusal}");
    }
}
