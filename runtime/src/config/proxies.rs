//! Reads `trusted_proxies` and `proxy_protocol`: whose word about clients is believed, and how it comes.

use std::collections::HashSet;
use std::path::Path;

use super::reader::Keyed;
use super::report::Diagnostics;
use super::schema::File;
use crate::access::{AddressSet, Networks, UnixClients};
use crate::net::Endpoint;

/// Reads the list. Without it, no proxy is trusted.
pub(super) fn trusted(written: Option<&Keyed<Vec<Keyed<String>>>>, report: &Diagnostics<'_>) -> AddressSet {
    let Some(list) = written else { return AddressSet::default() };
    if list.value.is_empty() && !report.blames(&list.key) {
        report.add(list.line, &list.key, "an empty list: name a network, or leave the key out");
    }
    addresses(Some(list), report)
}

/// Reads a list of networks, addresses and the word for Unix sockets.
pub(super) fn addresses(written: Option<&Keyed<Vec<Keyed<String>>>>, report: &Diagnostics<'_>) -> AddressSet {
    let (mut networks, mut unix) = (Vec::new(), UnixClients::Excluded);
    for at in written.iter().flat_map(|list| &list.value) {
        if at.value == AddressSet::UNIX {
            unix = UnixClients::Included;
            continue;
        }
        networks.extend(report.settle(Some(at), None, |text| {
            Networks::one(text)
                .map(Some)
                .map_err(|message| format!("{message}; or \"unix\" for Unix sockets"))
        }));
    }
    AddressSet { networks: Networks::new(&networks), unix }
}

/// Reads the endpoints whose connections begin with a header of the PROXY protocol.
pub(super) fn endpoints(
    file: &File,
    trusted: &AddressSet,
    (listen, base): (&[Endpoint], &Path),
    report: &Diagnostics<'_>,
) -> Vec<Endpoint> {
    let Some(list) = &file.proxy_protocol else { return Vec::new() };
    if list.value.is_empty() && !report.blames(&list.key) {
        report.add(list.line, &list.key, "an empty list: name an endpoint of listen, or leave the key out");
    }
    if file.trusted_proxies.is_none() {
        let message =
            "needs trusted_proxies: only those may say who a client is; everybody else is refused there";
        report.add(list.line, &list.key, message);
    }
    let names_proxies = file.trusted_proxies.as_ref().is_some_and(|list| !report.blames(&list.key));
    let listen: HashSet<&Endpoint> = listen.iter().collect();
    let endpoint = |text: &String| {
        let endpoint = match text.parse::<Endpoint>().map_err(|error| error.to_string())? {
            Endpoint::Unix(path) => Endpoint::Unix(base.join(path)),
            other @ (Endpoint::Tcp(_) | Endpoint::Fd(_)) => other,
        };
        if !listen.contains(&endpoint) {
            return Err(format!("{text:?} is not in listen: write it as it is written there"));
        }
        match lacking_proxy(&endpoint, trusted).filter(|_| names_proxies) {
            None => Ok(Some(endpoint)),
            Some(lacking) => Err(format!(
                "every connection of {text:?} would be closed, as no client there is trusted: {lacking}"
            )),
        }
    };
    list.value.iter().filter_map(|at| report.settle(Some(at), None, endpoint)).collect()
}

/// Returns what `trusted_proxies` lacks, if it holds no client that an endpoint can have. What systemd passes on may be of
/// either kind.
fn lacking_proxy(endpoint: &Endpoint, trusted: &AddressSet) -> Option<&'static str> {
    match endpoint {
        Endpoint::Tcp(_) if trusted.networks.is_empty() => {
            Some("add the address or the network of the proxy to trusted_proxies")
        }
        Endpoint::Unix(_) if trusted.unix == UnixClients::Excluded => Some("add \"unix\" to trusted_proxies"),
        Endpoint::Tcp(_) | Endpoint::Unix(_) | Endpoint::Fd(_) => None,
    }
}
