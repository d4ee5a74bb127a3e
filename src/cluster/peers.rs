//! What an operator writes to say where peers are: `host[:port]`, and `dns:NAME`.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use thiserror::Error;

/// Where a node listens unless it is told otherwise.
pub const PORT: u16 = 7400;

/// The longest name, in bytes, and the longest of its parts (RFC 1035, 2.3.4).
const NAME_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;

/// Where a peer may be: an address, or a name that is resolved at every look.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct PeerAddress {
    pub(super) host: Host,
    pub(super) port: u16,
}

#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Host {
    Address(IpAddr),
    Name(String),
}

/// A name under which all nodes are to be found.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Discover {
    /// Every address of a name.
    Addresses {
        /// The name.
        name: String,
        /// Where they listen.
        port: u16,
    },
    /// Every target of a service, which names its own ports (RFC 2782).
    Service {
        /// The name, which begins with an underscore.
        name: String,
    },
}

/// Why a text is no peer.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum PeerError {
    /// There is nothing.
    #[error(
        "a peer is HOST or HOST:PORT, such as node-1 or 10.0.0.7:{PORT}, and this one is empty"
    )]
    Empty,
    /// It is a URL.
    #[error("{text:?} begins with {scheme}://; a peer is HOST or HOST:PORT alone")]
    Scheme {
        /// What was written.
        text: String,
        /// What is too much.
        scheme: String,
    },
    /// The port is no port.
    #[error("{port:?} in {text:?} is no port: a port is a number from 1 to 65535")]
    Port {
        /// What was written.
        text: String,
        /// The part that is wrong.
        port: String,
    },
    /// The address is no address.
    #[error(
        "{address:?} in {text:?} is no IPv6 address; with a port it is written [2001:db8::7]:{PORT}"
    )]
    Address6 {
        /// What was written.
        text: String,
        /// The part that is wrong.
        address: String,
    },
    /// The name ends like an IPv4 address and is none.
    #[error("{name:?} is no IPv4 address: that has four numbers from 0 to 255, as in 10.0.0.7")]
    Address4 {
        /// The part that is wrong.
        name: String,
    },
    /// Nobody is there.
    #[error("{address} means every address of this machine; a peer is the one where it is reached")]
    Unspecified {
        /// The address.
        address: IpAddr,
    },
    /// The name is no host's.
    #[error(
        "{name:?} is no host name: letters, digits and hyphens, in parts of at most 63 with dots between"
    )]
    Name {
        /// The part that is wrong.
        name: String,
    },
    /// The way to find peers is not known.
    #[error(
        "{text:?} is no way to find peers; write dns:NAME, dns:NAME:PORT or dns:_SERVICE._udp.NAME"
    )]
    Way {
        /// What was written.
        text: String,
    },
    /// A service has a port too many.
    #[error("the service {name} names its own ports; leave out the port {port}")]
    ServicePort {
        /// The service.
        name: String,
        /// The port.
        port: u16,
    },
}

impl FromStr for PeerAddress {
    type Err = PeerError;

    fn from_str(text: &str) -> Result<Self, PeerError> {
        if text.is_empty() {
            return Err(PeerError::Empty);
        }
        if let Some((scheme, _)) = text.split_once("://") {
            return Err(PeerError::Scheme { text: text.to_owned(), scheme: scheme.to_owned() });
        }
        let (host, port) = split(text)?;
        let port = port.map_or(Ok(PORT), |port| number(text, port))?;
        Ok(Self { host, port })
    }
}

/// The host, and the port's digits. Without brackets a text with two colons or more is an address alone.
fn split(text: &str) -> Result<(Host, Option<&str>), PeerError> {
    let wrong =
        |address: &str| PeerError::Address6 { text: text.to_owned(), address: address.to_owned() };
    let six = |address: &str| address.parse::<Ipv6Addr>().map_err(|_| wrong(address));
    if let Some(rest) = text.strip_prefix('[') {
        let (address, rest) = rest.split_once(']').ok_or_else(|| wrong(rest))?;
        let host = specified(six(address)?.into())?;
        return match (rest.strip_prefix(':'), rest) {
            (Some(port), _) => Ok((host, Some(port))),
            (None, "") => Ok((host, None)),
            (None, _) => Err(wrong(text)),
        };
    }
    match text.split_once(':') {
        Some((_, rest)) if rest.contains(':') => Ok((specified(six(text)?.into())?, None)),
        Some((host, port)) => Ok((four_or_name(host)?, Some(port))),
        None => Ok((four_or_name(text)?, None)),
    }
}

fn four_or_name(host: &str) -> Result<Host, PeerError> {
    if let Ok(address) = host.parse::<Ipv4Addr>() {
        return specified(address.into());
    }
    let last = host.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
    if !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(PeerError::Address4 { name: host.to_owned() });
    }
    checked(host).map(Host::Name)
}

fn specified(address: IpAddr) -> Result<Host, PeerError> {
    if address.is_unspecified() {
        return Err(PeerError::Unspecified { address });
    }
    Ok(Host::Address(address))
}

fn checked(name: &str) -> Result<String, PeerError> {
    let labels = name.strip_suffix('.').unwrap_or(name);
    let is_sound = |label: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        !label.is_empty() && label.len() <= LABEL_BYTES_MAX && label.bytes().all(allowed)
    };
    if labels.len() > NAME_BYTES_MAX || !labels.split('.').all(is_sound) {
        return Err(PeerError::Name { name: name.to_owned() });
    }
    Ok(name.to_owned())
}

fn number(text: &str, port: &str) -> Result<u16, PeerError> {
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let wrong = || PeerError::Port { text: text.to_owned(), port: port.to_owned() };
    let number = port.parse().ok().filter(|number| digits && *number != 0);
    number.ok_or_else(wrong)
}

impl FromStr for Discover {
    type Err = PeerError;

    fn from_str(text: &str) -> Result<Self, PeerError> {
        let unknown = || PeerError::Way { text: text.to_owned() };
        let rest = text.strip_prefix("dns:").filter(|rest| !rest.is_empty()).ok_or_else(unknown)?;
        let (name, port) = match rest.split_once(':') {
            Some((name, port)) => (name, Some(number(text, port)?)),
            None => (rest, None),
        };
        let name = checked(name)?;
        if name.parse::<IpAddr>().is_ok() {
            return Err(unknown());
        }
        match port {
            Some(port) if name.starts_with('_') => Err(PeerError::ServicePort { name, port }),
            None if name.starts_with('_') => Ok(Self::Service { name }),
            port => Ok(Self::Addresses { name, port: port.unwrap_or(PORT) }),
        }
    }
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = self.port;
        match &self.host {
            Host::Address(IpAddr::V6(address)) => write!(f, "[{address}]:{port}"),
            Host::Address(IpAddr::V4(address)) => write!(f, "{address}:{port}"),
            Host::Name(name) => write!(f, "{name}:{port}"),
        }
    }
}

impl fmt::Display for Discover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Addresses { name, port } => write!(f, "dns:{name}:{port}"),
            Self::Service { name } => write!(f, "dns:{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(text: &str) -> Result<String, PeerError> {
        text.parse().map(|peer: PeerAddress| peer.to_string())
    }

    #[test]
    fn a_peer_is_a_host_with_or_without_a_port() {
        for (written, means) in [
            ("node-1", "node-1:7400"),
            ("node-1:7401", "node-1:7401"),
            ("apolo-0.apolo.bots.svc.cluster.local.", "apolo-0.apolo.bots.svc.cluster.local.:7400"),
            ("my_host", "my_host:7400"),
            ("10.0.0.7", "10.0.0.7:7400"),
            ("10.0.0.7:1", "10.0.0.7:1"),
            ("::1", "[::1]:7400"),
            ("::1:7401", "[::1:7401]:7400"),
            ("[::1]", "[::1]:7400"),
            ("[::1]:7401", "[::1]:7401"),
            ("2001:db8::7", "[2001:db8::7]:7400"),
        ] {
            assert_eq!(peer(written).as_deref(), Ok(means), "{written}");
        }
    }

    #[test]
    fn what_is_no_peer_is_told_what_would_be() {
        for (written, says) in [
            ("", "such as node-1 or 10.0.0.7:7400"),
            ("quic://node-1", "begins with quic://"),
            ("node-1:", "a port is a number from 1 to 65535"),
            ("node-1:0", "a port is a number from 1 to 65535"),
            ("node-1:65536", "a port is a number from 1 to 65535"),
            ("node-1:+80", "a port is a number from 1 to 65535"),
            ("[::1]7401", "[2001:db8::7]:7400"),
            ("[::1", "[2001:db8::7]:7400"),
            ("[10.0.0.7]:7400", "[2001:db8::7]:7400"),
            ("a:b:c", "[2001:db8::7]:7400"),
            ("10.0.0.300", "four numbers from 0 to 255"),
            ("10.0.7:7400", "four numbers from 0 to 255"),
            ("0.0.0.0", "every address of this machine"),
            ("[::]:7400", "every address of this machine"),
            ("node 1", "letters, digits and hyphens"),
            ("node..1x", "letters, digits and hyphens"),
            (":7400", "letters, digits and hyphens"),
            ("/run/apolo", "letters, digits and hyphens"),
        ] {
            let error = peer(written).unwrap_err().to_string();
            assert!(error.contains(says), "{written}: {error}");
        }
        assert!(peer(&"a".repeat(64)).is_err());
        assert!(peer(&["a"; 127].join(".")).is_ok());
        assert!(peer(&["a"; 128].join(".")).is_err());
    }

    #[test]
    fn a_name_that_begins_with_an_underscore_is_a_service() {
        let read = |text: &str| text.parse::<Discover>();
        let addresses = |port| Discover::Addresses { name: "apolo.bots".to_owned(), port };
        let service = Discover::Service { name: "_apolo._udp.bots".to_owned() };

        assert_eq!(read("dns:apolo.bots"), Ok(addresses(7400)));
        assert_eq!(read("dns:apolo.bots:7411"), Ok(addresses(7411)));
        assert_eq!(read("dns:_apolo._udp.bots"), Ok(service));
        assert!(read("dns:_apolo._udp.bots:7400").unwrap_err().to_string().contains("leave out"));
        for wrong in ["", "dns:", "apolo.bots", "k8s:apolo", "dns:10.0.0.7", "DNS:x"] {
            assert!(read(wrong).unwrap_err().to_string().contains("dns:NAME"), "{wrong}");
        }
    }
}
