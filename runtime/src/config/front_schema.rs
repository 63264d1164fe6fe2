//! `limit`, `[gate.NAME]` and `[tls.acme]` as they are written: every key, before any check of its value.

use toml::Spanned;
use toml::de::DeValue;

use super::reader::{FromToml, Keyed, NamedTable, Scalar, Section};
use super::report::Diagnostics;
use super::shape::Shape;
use super::table::table;

table! {
    /// `limit` of a route or handler.
    WrittenLimit {
        /// A number of requests per unit of time: `10/s`.
        rate: String,
        /// How many requests pass at once.
        burst: Scalar,
        /// `address`, `user`, `header:NAME` or `all`.
        by: String,
        /// The store in which daemons count together.
        store: String,
    }
}

table! {
    /// `[gate.NAME]`.
    WrittenGate {
        /// `addresses`, `basic`, `client_certificate` or `jwt`.
        kind: String,
        /// The addresses that pass.
        allow: Vec<Keyed<String>>,
        /// The addresses that do not pass.
        deny: Vec<Keyed<String>>,
        /// The hash of the password of each user.
        users: NamedTable<String>,
        /// A file with a user and a hash on each line.
        users_file: String,
        /// The names of certificates that pass.
        names: Vec<Keyed<String>>,
        /// The algorithms that may have signed a token.
        algorithms: Vec<Keyed<String>>,
        /// A file with a public key in PEM.
        key: String,
        /// A file with the secret of an HMAC.
        secret: String,
        /// A file with a set of keys in JSON, or its URL.
        jwks: String,
        /// How often a set of keys is fetched from its URL.
        refresh: Scalar,
        issuer: String,
        audience: String,
        /// By how much clocks may differ.
        leeway: Scalar,
    }
}

table! {
    /// `[tls.acme]`.
    Acme {
        /// The host names to obtain certificates for.
        domains: Vec<Keyed<String>>,
        /// Where the server may write to about the account.
        email: String,
        /// The URL of the server's directory, or `staging`.
        directory: String,
        /// A file of authorities to trust besides the system's, for requests to the server.
        ca: String,
        /// `tls-alpn-01` and `http-01`.
        challenges: Vec<Keyed<String>>,
    }
}
