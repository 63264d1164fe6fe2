//! What a TLS handshake has found out, as CGI's variables want it.

use rustls::server::ServerConnection;
use std::borrow::Cow;

/// What is known of an encrypted connection. The texts are made once for a connection.
#[derive(Debug)]
pub struct Secured {
    variables: Vec<(Cow<'static, str>, String)>,
}

impl Secured {
    pub(super) fn of(session: &ServerConnection) -> Secured {
        let mut variables = Vec::new();
        let mut put = |name: &'static str, value: String| variables.push((Cow::Borrowed(name), value));
        if let Some(name) = session.server_name() {
            put("SSL_TLS_SNI", name.to_owned());
        }
        Secured { variables }
    }

    /// Returns the variables that a handler is given besides `HTTPS`.
    pub fn variables(&self) -> &[(Cow<'static, str>, String)] {
        &self.variables
    }
}
