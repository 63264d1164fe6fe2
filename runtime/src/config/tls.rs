//! Reads `[tls]`: certificates, client authentication, and endpoints without TLS.

use std::collections::HashSet;
use std::path::Path;

use super::acme::{self, file};
use super::reader::Keyed;
use super::report::Diagnostics;
use super::schema;
use crate::net::{CertificateFiles, ClientAuth, ClientOptions, Endpoint, TlsOptions};

/// Reads the table; `listen` holds the endpoints of the daemon. The files are read later, by a reload or by
/// `check`.
pub(super) fn read(
    written: &Keyed<schema::Tls>,
    listen: &[Endpoint],
    base: &Path,
    report: &Diagnostics<'_>,
) -> TlsOptions {
    let Keyed { value: tls, key, line } = written;
    let more = tls.certificate.as_ref().map_or(&[][..], |list| &list.value);
    let mut certificates = Vec::with_capacity(more.len() + 1);
    if tls.cert.is_some() || tls.key.is_some() || (more.is_empty() && tls.acme.is_none()) {
        certificates.extend(pair(*line, key, (&tls.cert, &tls.key), base, report));
    }
    let pairs =
        more.iter().filter_map(|at| pair(at.line, &at.key, (&at.value.cert, &at.value.key), base, report));
    certificates.extend(pairs);
    let plain = tls.plain.as_ref().map_or(&[][..], |list| &list.value);
    let known: HashSet<&Endpoint> = listen.iter().collect();
    let plain =
        plain.iter().filter_map(|at| report.settle(Some(at), None, |text| plain_endpoint(text, &known)));
    let plain: Vec<Endpoint> = plain.collect();
    let endpoints = acme::Endpoints::of(listen, &plain);
    let acme = tls.acme.as_ref().and_then(|written| acme::read(written, endpoints, base, report));
    TlsOptions { certificates, acme, clients: clients(tls, base, report), plain }
}

/// Reads whether requests in clear are redirected to `https:`.
pub(super) fn redirects(
    written: Option<&Keyed<String>>,
    tls: Option<&Keyed<schema::Tls>>,
    report: &Diagnostics<'_>,
) -> bool {
    let is_in_clear = tls.is_some_and(|tls| tls.value.plain.as_ref().is_some_and(|at| !at.value.is_empty()));
    report.settle(written, false, |word| match word.as_str() {
        "redirect" if is_in_clear => Ok(true),
        "redirect" => {
            Err("no endpoint is served both ways: add [tls], and name an endpoint in clear in tls.plain"
                .to_owned())
        }
        _ => Err(format!("wanted \"redirect\", found {word:?}")),
    })
}

/// Reads the paths of a certificate and its key.
fn pair(
    line: usize,
    table: &str,
    (cert, key): (&Option<Keyed<String>>, &Option<Keyed<String>>),
    base: &Path,
    report: &Diagnostics<'_>,
) -> Option<CertificateFiles> {
    if cert.is_none() {
        report.missing(line, table, "cert", "name the file of the certificate, in PEM");
    }
    if key.is_none() {
        report.missing(line, table, "key", "name the file of the private key, in PEM");
    }
    Some(CertificateFiles {
        cert: file(cert.as_ref()?, base, report),
        key: file(key.as_ref()?, base, report),
    })
}

fn clients(tls: &schema::Tls, base: &Path, report: &Diagnostics<'_>) -> Option<ClientOptions> {
    let demand = report.settle(tls.client_auth.as_ref(), ClientAuth::Required, |text| match text.as_str() {
        "required" => Ok(ClientAuth::Required),
        "optional" => Ok(ClientAuth::Optional),
        _ => Err(format!("wanted \"required\" or \"optional\", found {text:?}")),
    });
    let Some(ca) = &tls.client_ca else {
        for at in tls.client_auth.iter().chain(&tls.client_crl) {
            report.add(
                at.line,
                &at.key,
                "needs client_ca: name the file of the authorities that issue to clients",
            );
        }
        return None;
    };
    Some(ClientOptions {
        ca: file(ca, base, report),
        crl: tls.client_crl.as_ref().map(|crl| file(crl, base, report)),
        demand,
    })
}

fn plain_endpoint(text: &str, listen: &HashSet<&Endpoint>) -> Result<Option<Endpoint>, String> {
    match text.parse::<Endpoint>().map_err(|error| error.to_string())? {
        Endpoint::Unix(_) => Err("Unix sockets never use TLS: leave it out".to_owned()),
        endpoint if listen.contains(&endpoint) => Ok(Some(endpoint)),
        _ => Err(format!("{text:?} is not in listen: write it as it is written there")),
    }
}
