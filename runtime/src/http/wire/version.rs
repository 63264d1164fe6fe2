//! The version of HTTP that a peer speaks.

/// Which HTTP a peer speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::http) enum Version {
    /// 1.1, 1.0, or nonsense.
    One,
    /// 2, whether TLS agreed on it or the client knows beforehand.
    Two,
}
