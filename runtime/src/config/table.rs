//! The macro that defines a table of the configuration file, and how it is read.

/// Defines a table by its optional keys, and how it is read. With one definition for both, no key can be
/// documented but not read, or read but unknown.
macro_rules! table {
    ($(#[$doc:meta])* $name:ident { $($(#[$key_doc:meta])* $key:ident: $kind:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Default)]
        pub(super) struct $name {
            $($(#[$key_doc])* pub(super) $key: Option<Keyed<$kind>>,)*
        }

        impl FromToml for $name {
            const SHAPE: &'static Shape = &Shape::Table {
                keys: &[$((Shape::key(stringify!($key)), <$kind as FromToml>::SHAPE),)*],
            };

            fn read(value: &Spanned<DeValue<'_>>, key: &str, report: &Diagnostics<'_>) -> Option<$name> {
                let mut section = Section::of(value, key, Self::SHAPE, report)?;
                let table = $name { $($key: section.take(Shape::key(stringify!($key))),)* };
                section.finish();
                Some(table)
            }
        }
    };
}

pub(super) use table;
