//! Addresses to listen on, as the configuration writes them: `PROTO://ADDR`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

const TCP: &str = "write tcp://ADDR:PORT";
const UNIX: &str = "write unix:///PATH/TO.sock";
const FD: &str = "write fd:// for every socket systemd passed, fd://3 or fd://NAME for one";

/// unix(7): `sun_path` has 108 bytes and ends with a NUL. The daemon could bind a longer path, but clients could not
/// connect.
pub(super) const LONGEST_PATH: usize = 107;

/// One address to listen on.
///
/// `Display` writes what `FromStr` reads, so an endpoint survives being printed and read again.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// A TCP address or name: `tcp://127.0.0.1:8080`.
    Tcp(TcpAddress),
    /// The path of a Unix socket: `unix:///run/portcullis.sock`. The caller that binds it resolves a relative path.
    Unix(PathBuf),
    /// Sockets passed by systemd: `fd://`, `fd://3`, `fd://web`.
    Fd(FdName),
}

/// A host and port that were checked when they were read.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TcpAddress {
    host: Host,
    port: u16,
}

/// The host part of a TCP address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// An address, which needs no lookup.
    Ip(IpAddr),
    /// A name, which may stand for several addresses.
    Name(String),
}

/// The selection among the sockets that systemd passed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum FdName {
    /// Every socket that no other endpoint has taken.
    All,
    /// The socket with this number, 3 or more.
    Number(u32),
    /// Every socket with this `FileDescriptorName=`.
    Name(String),
}

/// The error for text that is no endpoint; it says what to write instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointError {
    given: String,
    advice: String,
}

impl TcpAddress {
    /// The host to bind.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The port to bind; 0 lets the kernel choose.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Endpoint {
    /// Checks that a client can name the address. The caller must have made a relative path absolute.
    ///
    /// # Errors
    /// The path of a Unix socket is too long.
    pub fn check(&self) -> Result<(), String> {
        let Endpoint::Unix(path) = self else { return Ok(()) };
        match path.as_os_str().len() {
            ..=LONGEST_PATH => Ok(()),
            length => Err(format!(
                "the path {} has {length} bytes and a client can name {LONGEST_PATH} at most: choose a shorter one",
                path.display()
            )),
        }
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    /// Reads `PROTO://ADDR`.
    ///
    /// # Errors
    /// An unknown scheme, or an address that its scheme does not allow. Never panics.
    fn from_str(text: &str) -> Result<Endpoint, EndpointError> {
        let parsed = match text.split_once("://") {
            Some(("tcp", rest)) => tcp(rest).map(Endpoint::Tcp),
            Some(("unix", rest)) => unix(rest).map(Endpoint::Unix),
            Some(("fd", rest)) => fd(rest).map(Endpoint::Fd),
            Some((scheme, _)) => {
                Err(format!("no scheme {scheme:?}: the schemes are tcp://, unix:// and fd://"))
            }
            None => Err(without_scheme(text)),
        };
        parsed.map_err(|advice| EndpointError { given: text.to_owned(), advice })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Tcp(address) => write!(out, "tcp://{address}"),
            Endpoint::Unix(path) => write!(out, "unix://{}", path.display()),
            Endpoint::Fd(name) => write!(out, "fd://{name}"),
        }
    }
}

impl fmt::Display for TcpAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(IpAddr::V6(ip)) => write!(out, "[{ip}]:{}", self.port),
            Host::Ip(IpAddr::V4(ip)) => write!(out, "{ip}:{}", self.port),
            Host::Name(name) => write!(out, "{name}:{}", self.port),
        }
    }
}

impl fmt::Display for FdName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FdName::All => Ok(()),
            FdName::Number(number) => write!(out, "{number}"),
            FdName::Name(name) => out.write_str(name),
        }
    }
}

impl fmt::Display for EndpointError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:?}: {}", self.given, self.advice)
    }
}

impl std::error::Error for EndpointError {}

fn without_scheme(text: &str) -> String {
    let scheme = text.split(':').next().unwrap_or_default();
    if text.starts_with('/') {
        return format!("write unix://{text}");
    }
    match scheme {
        "tcp" => TCP.to_owned(),
        "unix" => UNIX.to_owned(),
        "fd" => FD.to_owned(),
        _ if tcp(text).is_ok() => format!("write tcp://{text}"),
        _ => "write PROTO://ADDR, as in tcp://127.0.0.1:8080 or unix:///run/portcullis.sock".to_owned(),
    }
}

fn tcp(text: &str) -> Result<TcpAddress, String> {
    let (host, port) = text.rsplit_once(':').ok_or_else(|| format!("no port: {TCP}"))?;
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let port = port
        .parse()
        .ok()
        .filter(|_| digits)
        .ok_or_else(|| format!("the port {port:?} is not a number from 0 to 65535: {TCP}"))?;
    Ok(TcpAddress { host: self::host(host)?, port })
}

fn host(text: &str) -> Result<Host, String> {
    if text.is_empty() {
        // Docker's rule for ":PORT": loopback, not every interface.
        return Ok(Host::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    }
    if let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let ip: Ipv6Addr =
            inner.parse().map_err(|_| format!("{inner:?} is not an IPv6 address: write tcp://[::1]:PORT"))?;
        return Ok(Host::Ip(IpAddr::V6(ip)));
    }
    if let Ok(ip) = text.parse::<Ipv4Addr>() {
        return Ok(Host::Ip(IpAddr::V4(ip)));
    }
    if text.contains(':') {
        return Err("an IPv6 address needs brackets: write tcp://[ADDR]:PORT".to_owned());
    }
    if text == "*" {
        return Err("for every interface write tcp://0.0.0.0:PORT or tcp://[::]:PORT".to_owned());
    }
    name(text).map(Host::Name)
}

fn name(text: &str) -> Result<String, String> {
    let label = |label: &str| {
        // RFC 1035 §2.3.4: a label has 63 octets at most.
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    let whole = text.strip_suffix('.').unwrap_or(text);
    // RFC 1035 §2.3.4 allows 255 octets on the wire, which are 253 characters in writing.
    if whole.len() > 253 || !whole.split('.').all(label) {
        return Err(format!("{text:?} is neither a host name nor an address: {TCP}"));
    }
    // getaddrinfo(3) reads "1.2" and "0x7f.1" as IPv4 addresses of an older notation.
    let last = whole.rsplit('.').next().unwrap_or_default();
    if last.starts_with(|first: char| first.is_ascii_digit()) {
        return Err(format!("{text:?} is not a complete IPv4 address: write all four numbers"));
    }
    Ok(text.to_owned())
}

fn unix(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() {
        return Err(format!("no path: {UNIX}"));
    }
    if text.contains('\0') {
        return Err(format!("a path cannot hold a NUL character: {UNIX}"));
    }
    let path = Path::new(text);
    if text.ends_with(['/']) || text.ends_with("/.") || path.file_name().is_none() {
        return Err(format!("the path names a directory: {UNIX}"));
    }
    Ok(path.to_owned())
}

fn fd(text: &str) -> Result<FdName, String> {
    if text.is_empty() || text == "*" {
        return Ok(FdName::All);
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        // sd_listen_fds(3): the first descriptor is 3; 0 to 2 are the standard streams.
        return match text.parse() {
            Ok(number) if (3..=i32::MAX.cast_unsigned()).contains(&number) => Ok(FdName::Number(number)),
            _ => Err(format!("descriptors that systemd passes start at 3: {FD}")),
        };
    }
    // systemd.socket(5), FileDescriptorName=: 255 ASCII characters at most, no control characters, no ":".
    if text.len() > 255 || !text.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b':') {
        return Err(format!(
            "not a name that systemd allows (ASCII, no \":\", at most 255 characters): {FD}"
        ));
    }
    Ok(FdName::Name(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn printed(text: &str) -> String {
        text.parse::<Endpoint>().unwrap().to_string()
    }

    fn refusal(text: &str) -> String {
        text.parse::<Endpoint>().unwrap_err().to_string()
    }

    #[test]
    fn every_form_is_printed_as_it_was_written() {
        for text in [
            "tcp://127.0.0.1:8080",
            "tcp://[::1]:0",
            "tcp://localhost:65535",
            "tcp://a_b.example.org.:1",
            "unix:///run/p.sock",
            "unix://p.sock",
            "fd://",
            "fd://3",
            "fd://web",
        ] {
            assert_eq!(printed(text), text);
        }
    }

    #[test]
    fn short_forms_have_one_meaning() {
        assert_eq!(printed("tcp://:8080"), "tcp://127.0.0.1:8080");
        assert_eq!(printed("fd://*"), "fd://");
        assert_eq!(printed("fd://007"), "fd://7");
    }

    #[test]
    fn a_refusal_says_what_to_write() {
        assert_eq!(refusal("tcp:8080"), "\"tcp:8080\": write tcp://ADDR:PORT");
        assert_eq!(refusal("localhost:80"), "\"localhost:80\": write tcp://localhost:80");
        assert_eq!(refusal("/run/p.sock"), "\"/run/p.sock\": write unix:///run/p.sock");
        assert!(
            refusal("http://x").ends_with("no scheme \"http\": the schemes are tcp://, unix:// and fd://")
        );
    }

    #[test]
    fn what_cannot_be_bound_is_refused() {
        for text in [
            "",
            "://",
            "tcp://",
            "tcp://x",
            "tcp://x:",
            "tcp://x:+1",
            "tcp://x:65536",
            "tcp://::1:80",
            "tcp://*:80",
            "tcp://1.2.3:80",
            "tcp://256.0.0.1:80",
            "tcp://0x7f.0x1:80",
            "tcp://[1.2.3.4]:80",
            "tcp://a b:80",
            "tcp://a..b:80",
            "unix://",
            "unix:///",
            "unix:///run/",
            "unix:///run/..",
            "unix:///run/.",
            "unix://a\0b",
            "fd://0",
            "fd://2",
            "fd://4294967299",
            "fd://a:b",
            "fd://a\n",
            "TCP://127.0.0.1:1",
        ] {
            assert!(text.parse::<Endpoint>().is_err(), "{text:?} was accepted");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_without_panic(text in ".{0,40}", scheme in "(tcp|unix|fd|x)://") {
            let _ = text.parse::<Endpoint>();
            if let Ok(endpoint) = format!("{scheme}{text}").parse::<Endpoint>() {
                prop_assert_eq!(endpoint.to_string().parse::<Endpoint>().unwrap(), endpoint);
            }
        }

        #[test]
        fn an_address_survives_being_printed(ip: IpAddr, port: u16) {
            let endpoint = Endpoint::Tcp(TcpAddress { host: Host::Ip(ip), port });

            prop_assert_eq!(endpoint.to_string().parse::<Endpoint>().unwrap(), endpoint);
        }

        #[test]
        fn a_name_survives_being_printed(text in "(tcp://[a-z][a-z0-9-]{0,20}(\\.[a-z]{1,9}){0,3}:[0-9]{1,4}|fd://[a-z.]{1,9})") {
            let endpoint: Endpoint = text.parse().unwrap();

            prop_assert_eq!(endpoint.to_string().parse::<Endpoint>().unwrap(), endpoint);
        }
    }
}
