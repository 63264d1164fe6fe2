//! No text makes the parser panic.

use std::path::Path;

use proptest::prelude::*;

use super::{EVERYTHING, parse};

proptest! {
    #[test]
    fn no_text_panics(text in ".{0,64}", start in 0..EVERYTHING.len(), length in 0usize..16) {
        let end = (start + length).min(EVERYTHING.len());
        let spliced = format!("{}{text}{}", &EVERYTHING[..start], &EVERYTHING[end..]);
        for text in [text, spliced] {
            if let Err(errors) = parse(&text, Path::new("/nowhere"), "p.toml") {
                prop_assert!(!errors.to_string().is_empty());
            }
        }
    }

    #[test]
    fn no_value_panics(
        key in prop::sample::select(vec![
            "listen", "grace", "jobs", "unix.mode", "unix.group", "http.head", "cors.origins", "cors.max_age",
            "limits.memory", "limits.time", "limits.queue", "handler.x", "handler.x.env", "handler.x.mounts", "route",
        ]),
        value in prop_oneof![
            "-?[0-9]{1,30}", "0[xob][0-7]{1,20}", "\"[^\"\\\\\n]{0,20}\"", r#"\[("[*a-z:/.0-9]{0,16}",?){0,3}\]"#,
            r#"\[?\{( ?[a-z]{1,7} = "[/*a-z{}]{0,9}",?){0,3}\}\]?"#, "[0-9.e+-]{1,12}", "true|inf|nan|1979-05-27",
        ],
    ) {
        let _either = parse(&format!("{key} = {value}\n"), Path::new("/nowhere"), "p.toml");
    }
}
