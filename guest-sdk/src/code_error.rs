//! The macro that defines an error with a kind and a text, as the daemon reports it: `CODE: MESSAGE`.

/// Defines an error type and its kinds, each with the codes of the daemon that mean it. Any other code is `Other`.
macro_rules! code_error {
    (
        $(#[$doc:meta])* $error:ident
        $(#[$kind_doc:meta])* $kind:ident {
            $($(#[$variant_doc:meta])* $variant:ident $(= $($code:literal)|+)?,)*
        }
    ) => {
        $(#[$doc])*
        pub struct $error {
            kind: $kind,
            message: String,
        }

        $(#[$kind_doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[non_exhaustive]
        pub enum $kind {
            $($(#[$variant_doc])* $variant,)*
            /// A failure that this version of the SDK does not know.
            Other,
        }

        #[allow(dead_code, reason = "only some targets get errors from the daemon")]
        impl $error {
            pub(super) fn new(kind: $kind, message: impl Into<String>) -> $error {
                $error { kind, message: message.into() }
            }

            /// Makes an error from a code of the daemon and its message.
            pub(super) fn of(code: &str, message: impl Into<String>) -> $error {
                let kind = match code {
                    $($($($code)|+ => $kind::$variant,)?)*
                    _ => $kind::Other,
                };
                $error::new(kind, message)
            }

            /// Makes an error from `CODE: MESSAGE`.
            pub(super) fn parse(text: &str) -> $error {
                let (code, message) = text.split_once(": ").unwrap_or(("", text));
                $error::of(code, message)
            }

            /// Returns the kind of the failure.
            pub fn kind(&self) -> $kind {
                self.kind
            }
        }

        impl std::fmt::Display for $error {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.message)
            }
        }

        impl std::fmt::Debug for $error {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{:?}: {}", self.kind, self.message)
            }
        }

        impl std::error::Error for $error {}
    };
}

pub(crate) use code_error;
