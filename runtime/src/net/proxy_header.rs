//! The header of the PROXY protocol, versions 1 and 2, at the beginning of a connection.
//!
//! Source: haproxy, `doc/proxy-protocol.txt`, revision 2020/03/05.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use ppp::{v1, v2};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// The shortest header: `PROXY UNKNOWN` and a line break. So many bytes never belong to what follows.
const SHORTEST: usize = 15;

/// The longest header of version 1, with its line break (§2.1).
const LONGEST_1: usize = 107;

/// The longest header of version 2 that is read. 216 bytes are those of two Unix paths; the rest is for certificates.
const LONGEST_2: usize = 4096;

/// The part of a version 2 header that tells the length of the rest.
const FIXED_2: usize = 16;

/// The two ends of a connection as the proxy accepted it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProxiedConnection {
    /// The client.
    pub client: SocketAddr,
    /// The address that the client reached.
    pub server: SocketAddr,
}

/// The far end of a connection that begins with a header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProxyClient {
    /// The proxy itself, such as for a health check (`LOCAL`).
    Itself,
    /// A client whose address the proxy does not tell (`UNKNOWN`), or that has no IP address (`AF_UNIX`).
    Unnamed,
    /// The client of this connection.
    Named(ProxiedConnection),
}

/// Why the header cannot be used.
#[derive(Debug)]
pub enum ProxyHeaderError {
    /// The connection broke, or ended within the header.
    Broken(io::Error),
    /// The first bytes are no header: the proxy is not configured to send it, or the client is no proxy.
    Absent,
    /// The header is invalid; the text says how.
    Invalid(String),
}

impl fmt::Display for ProxyHeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProxyHeaderError::Broken(error) => write!(f, "within the header of the PROXY protocol: {error}"),
            ProxyHeaderError::Absent => f.write_str("no header of the PROXY protocol"),
            ProxyHeaderError::Invalid(why) => write!(f, "the header of the PROXY protocol: {why}"),
        }
    }
}

// `v2::IPv4` and `v2::IPv6` are the same types.
impl From<v1::IPv4> for ProxiedConnection {
    fn from(ends: v1::IPv4) -> ProxiedConnection {
        ProxiedConnection {
            client: (ends.source_address, ends.source_port).into(),
            server: (ends.destination_address, ends.destination_port).into(),
        }
    }
}

impl From<v1::IPv6> for ProxiedConnection {
    fn from(ends: v1::IPv6) -> ProxiedConnection {
        ProxiedConnection {
            client: (ends.source_address, ends.source_port).into(),
            server: (ends.destination_address, ends.destination_port).into(),
        }
    }
}

/// Reads a header, and no byte behind it. Information besides addresses is dropped.
///
/// # Errors
/// See [`ProxyHeaderError`]. The connection is of no use then.
pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<ProxyClient, ProxyHeaderError> {
    let mut header = vec![0; SHORTEST];
    stream.read_exact(&mut header).await.map_err(ProxyHeaderError::Broken)?;
    if header.starts_with(v2::PROTOCOL_PREFIX) {
        more(stream, &mut header, FIXED_2).await?;
        let length = usize::from(u16::from_be_bytes([header[14], header[15]]));
        if FIXED_2 + length > LONGEST_2 {
            let why = format!("{length} bytes of addresses are announced, and {LONGEST_2} are read at most");
            return Err(ProxyHeaderError::Invalid(why));
        }
        more(stream, &mut header, FIXED_2 + length).await?;
        return of_version_2(&header);
    }
    if !header.starts_with(b"PROXY ") {
        return Err(ProxyHeaderError::Absent);
    }
    // Byte by byte, because what follows the line break belongs to TLS or to HTTP.
    while !header.ends_with(b"\r\n") {
        if header.len() == LONGEST_1 {
            return Err(ProxyHeaderError::Invalid(format!("no line break within {LONGEST_1} bytes")));
        }
        let next = header.len() + 1;
        more(stream, &mut header, next).await?;
    }
    of_version_1(&header)
}

async fn more(
    stream: &mut (impl AsyncRead + Unpin),
    header: &mut Vec<u8>,
    length: usize,
) -> Result<(), ProxyHeaderError> {
    let read = header.len();
    header.resize(length, 0);
    stream.read_exact(&mut header[read..]).await.map(drop).map_err(ProxyHeaderError::Broken)
}

fn of_version_1(header: &[u8]) -> Result<ProxyClient, ProxyHeaderError> {
    let read = v1::Header::try_from(header).map_err(|error| ProxyHeaderError::Invalid(error.to_string()))?;
    if read.addresses != v1::Addresses::Unknown && header.contains(&b'+') {
        // The crate parses a port as a number of Rust, which may have a sign.
        return Err(ProxyHeaderError::Invalid("a port is not written in digits".to_owned()));
    }
    Ok(match read.addresses {
        v1::Addresses::Unknown => ProxyClient::Unnamed,
        v1::Addresses::Tcp4(ends) => ProxyClient::Named(ends.into()),
        v1::Addresses::Tcp6(ends) => ProxyClient::Named(ends.into()),
    })
}

fn of_version_2(header: &[u8]) -> Result<ProxyClient, ProxyHeaderError> {
    let read = v2::Header::try_from(header).map_err(|error| ProxyHeaderError::Invalid(error.to_string()))?;
    if read.command == v2::Command::Local {
        return Ok(ProxyClient::Itself);
    }
    if read.protocol == v2::Protocol::Datagram {
        return Err(ProxyHeaderError::Invalid("it announces datagrams, and this is a stream".to_owned()));
    }
    Ok(match read.addresses {
        v2::Addresses::Unspecified | v2::Addresses::Unix(_) => ProxyClient::Unnamed,
        v2::Addresses::IPv4(ends) => ProxyClient::Named(ends.into()),
        v2::Addresses::IPv6(ends) => ProxyClient::Named(ends.into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The client and the server of a header, and what follows it.
    async fn ends(bytes: &[u8]) -> Result<(String, Vec<u8>), String> {
        let mut stream = bytes;
        let told = read(&mut stream).await.map_err(|error| error.to_string())?;
        let told = match told {
            ProxyClient::Itself => "itself".to_owned(),
            ProxyClient::Unnamed => "unnamed".to_owned(),
            ProxyClient::Named(told) => format!("{} {}", told.client, told.server),
        };
        Ok((told, stream.to_vec()))
    }

    fn version_2(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
        let length = u16::try_from(addresses.len()).unwrap().to_be_bytes();
        [v2::PROTOCOL_PREFIX, &[0x20 | command, family], &length, addresses, b"GET"].concat()
    }

    #[tokio::test]
    async fn version_1_is_read_to_its_line_break() {
        for (header, wanted) in [
            ("PROXY TCP4 203.0.113.7 198.51.100.1 4711 443\r\n", "203.0.113.7:4711 198.51.100.1:443"),
            ("PROXY TCP6 2001:db8::7 2001:db8::1 4711 443\r\n", "[2001:db8::7]:4711 [2001:db8::1]:443"),
            ("PROXY UNKNOWN\r\n", "unnamed"),
            ("PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", "unnamed"),
        ] {
            let told = ends(format!("{header}GET").as_bytes()).await;
            assert_eq!(told, Ok((wanted.to_owned(), b"GET".to_vec())), "{header}");
        }
    }

    #[tokio::test]
    async fn version_2_is_read_to_its_announced_length() {
        let four = [203, 0, 113, 7, 198, 51, 100, 1, 0x12, 0x67, 1, 0xbb];
        // The same with a value of type NOOP, which is dropped.
        let more = [&four[..], &[4, 0, 1, 9]].concat();
        let wanted = "203.0.113.7:4711 198.51.100.1:443";
        for (command, family, addresses, wanted) in [
            (1, 0x11, &four[..], wanted),
            (1, 0x11, &more, wanted),
            (0, 0x11, &four, "itself"),
            (0, 0, &[], "itself"),
            (1, 0, &[], "unnamed"),
            (1, 0x31, &[0; 216], "unnamed"),
        ] {
            let told = ends(&version_2(command, family, addresses)).await;
            assert_eq!(told, Ok((wanted.to_owned(), b"GET".to_vec())), "{command} {family}");
        }
    }

    #[tokio::test]
    async fn anything_else_is_refused_within_its_bounds() {
        let long = format!("PROXY UNKNOWN {}", "x".repeat(200));
        let large = [v2::PROTOCOL_PREFIX, &[0x21, 0x11, 0xff, 0xff], &[0; 70_000]].concat();
        for (bytes, part) in [
            (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), "no header of the PROXY protocol"),
            (long.into_bytes(), "no line break within 107 bytes"),
            (large, "65535 bytes of addresses are announced"),
            (b"PROXY TCP4 203.0.113.7 nobody 4711 443\r\n".to_vec(), "the header of the PROXY protocol: "),
            (b"PROXY TCP4 1.2.3.4 1.2".to_vec(), "within the header"),
            (b"PROXY TCP4 203.0.113.7 198.51.100.1 +4711 443\r\n".to_vec(), "not written in digits"),
            (
                b"PROXY TCP4 203.0.113.7 198.51.100.1 04711 443\r\n".to_vec(),
                "the header of the PROXY protocol: ",
            ),
            (
                b"PROXY TCP4 203.0.113.7  198.51.100.1 4711 443\r\n".to_vec(),
                "the header of the PROXY protocol: ",
            ),
            (
                b"PROXY TCP4 203.0.113.7 198.51.100.1 4711 443 1\r\n".to_vec(),
                "the header of the PROXY protocol: ",
            ),
            (
                b"PROXY TCP4 2001:db8::7 198.51.100.1 4711 443\r\n".to_vec(),
                "the header of the PROXY protocol: ",
            ),
            (
                b"PROXY UDP4 203.0.113.7 198.51.100.1 4711 443\r\n".to_vec(),
                "the header of the PROXY protocol: ",
            ),
            (version_2(1, 0x12, &[0; 12]), "it announces datagrams"),
            (version_2(1, 0x11, &[0; 4]), "the header of the PROXY protocol: "),
            // Another command, family and transport, and another version.
            (version_2(2, 0x11, &[0; 12]), "the header of the PROXY protocol: "),
            (version_2(1, 0x41, &[0; 12]), "the header of the PROXY protocol: "),
            (version_2(1, 0x13, &[0; 12]), "the header of the PROXY protocol: "),
            (version_2(0x11, 0x11, &[0; 12]), "the header of the PROXY protocol: "),
        ] {
            let refused = ends(&bytes).await.unwrap_err();
            assert!(refused.contains(part), "{refused}");
        }
    }
}
