//! Kinds of failed handshakes, as the metrics count them.

use std::io;

use rustls::Error as TlsError;

/// Why the handshake with a client that speaks TLS failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// The client sent no certificate, or its certificate was refused.
    ClientCertificate,
    /// The client refused the server's certificate, or sent another alert.
    Alert,
    /// Client and server have no version, cipher or protocol in common.
    Incompatible,
    /// The client violated the TLS protocol.
    Malformed,
    /// The client closed the connection.
    Left,
    /// An error on the server's side.
    Internal,
}

impl FailureKind {
    /// Classifies the error of a failed handshake.
    pub(super) fn of(error: &io::Error) -> FailureKind {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>()) {
            Some(TlsError::NoCertificatesPresented | TlsError::InvalidCertificate(_)) => {
                FailureKind::ClientCertificate
            }
            Some(TlsError::AlertReceived(_)) => FailureKind::Alert,
            Some(TlsError::PeerIncompatible(_) | TlsError::NoApplicationProtocol) => {
                FailureKind::Incompatible
            }
            Some(
                TlsError::InappropriateMessage { .. }
                | TlsError::InappropriateHandshakeMessage { .. }
                | TlsError::InvalidMessage(_)
                | TlsError::PeerMisbehaved(_)
                | TlsError::PeerSentOversizedRecord
                | TlsError::DecryptError,
            ) => FailureKind::Malformed,
            Some(_) => FailureKind::Internal,
            None => FailureKind::Left,
        }
    }
}
