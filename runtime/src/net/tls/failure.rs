//! Why a handshake failed, in one word that can be counted.

use std::io;

use rustls::Error as TlsError;

/// Why there is no encrypted connection with a client that speaks TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// It showed no certificate, or one that is refused.
    ClientCertificate,
    /// It refused ours, or broke off with another alert.
    Alert,
    /// The two have no version, cipher or protocol in common.
    Incompatible,
    /// What it sent breaks the rules of TLS.
    Malformed,
    /// It closed the connection.
    Left,
    /// Something of ours.
    Internal,
}

impl FailureKind {
    /// Finds out what a failed handshake failed at.
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
