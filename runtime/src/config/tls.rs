//! `[tls]`: what is encrypted, and with which files.

use std::path::Path;

use super::file;
use super::reader::At;
use super::report::Report;
use crate::net::{CertificateFiles, TlsOptions};

/// Reads the table. The files are read later: by a reload, and by `check`.
pub(super) fn read(written: &At<file::Tls>, base: &Path, report: &Report<'_>) -> TlsOptions {
    let At { value: tls, key, line } = written;
    if tls.cert.is_none() {
        report.missing(*line, key, "cert", "name the file of the certificate, in PEM");
    }
    if tls.key.is_none() {
        report.missing(*line, key, "key", "name the file of the private key, in PEM");
    }
    let path = |written: &Option<At<String>>| base.join(written.as_ref().map_or("", |at| &at.value));
    let files = CertificateFiles { cert: path(&tls.cert), key: path(&tls.key) };
    TlsOptions { certificates: vec![files], plain: Vec::new() }
}
