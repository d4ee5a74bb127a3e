//! From what an operator wrote to the addresses of the moment.
//!
//! Everything is resolved anew at every look, by a resolver that was made for it: nothing is cached, above all not that
//! a name does not exist (CoreDNS alone remembers that for 30 s, and a pod is there sooner), and a changed
//! `/etc/resolv.conf` or `/etc/hosts` counts at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

use futures_util::{
    FutureExt as _,
    stream::{StreamExt as _, iter},
};
use hickory_resolver::{
    Resolver, TokioResolver,
    config::{LookupIpStrategy, ResolveHosts, ResolverConfig},
    net::runtime::TokioRuntimeProvider,
    proto::rr::RData,
};
use tokio::time::timeout;

use super::peers::{Discover, Host, PeerAddress};

/// The most addresses that are looked at. The largest cluster that is planned for begins with far fewer.
const ADDRESSES_MAX: usize = 256;

/// The most names that are asked for at once: a resolver is shared with everyone on the machine.
const LOOKUPS_MAX: usize = 8;

/// How long one question to a name server may take before it is asked again.
const QUESTION_WITHIN: Duration = Duration::from_millis(500);

/// How long a name may take, with the search domains of a Kubernetes pod (up to six questions, of which most are
/// answered at once).
const NAME_WITHIN: Duration = Duration::from_secs(2);

/// Where peers may be. The node itself may be among them.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Candidates {
    peers: Vec<PeerAddress>,
    discover: Option<Discover>,
}

/// The addresses of the moment.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Resolution {
    /// All of them.
    pub addresses: BTreeSet<SocketAddr>,
    /// The names that did not resolve, and why.
    pub failures: Vec<(String, String)>,
    /// The addresses of each name. An address that was written as one is its own name.
    names: BTreeMap<String, BTreeSet<SocketAddr>>,
}

impl Candidates {
    /// What the operator wrote.
    #[must_use]
    pub const fn new(peers: Vec<PeerAddress>, discover: Option<Discover>) -> Self {
        Self { peers, discover }
    }

    /// Whether nothing was written.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.peers.is_empty() && self.discover.is_none()
    }

    /// Asks for every name. A name of which no name server knows anything takes two seconds at most.
    pub async fn resolve(&self) -> Resolution {
        let resolver = if self.has_names() { resolver() } else { None };
        self.resolve_with(resolver.as_ref()).await
    }

    fn has_names(&self) -> bool {
        let is_name = |peer: &PeerAddress| matches!(peer.host, Host::Name(_));
        self.discover.is_some() || self.peers.iter().any(is_name)
    }

    async fn resolve_with(&self, resolver: Option<&TokioResolver>) -> Resolution {
        let mut asked = Vec::with_capacity(self.peers.len() + 1);
        for peer in &self.peers {
            asked.push(Asked::Peer(peer).answer(resolver).boxed());
        }
        if let Some(discover) = &self.discover {
            asked.push(Asked::Discover(discover).answer(resolver).boxed());
        }
        let answers: Vec<_> = iter(asked).buffered(LOOKUPS_MAX).collect().await;
        let mut resolution = Resolution::default();
        for (name, found) in answers {
            resolution.add(name, found);
        }
        resolution
    }
}

impl Resolution {
    fn add(&mut self, name: String, found: Result<BTreeSet<SocketAddr>, String>) {
        let found = match found {
            Ok(found) if found.is_empty() => Err("it has no address".to_owned()),
            Ok(found) if self.addresses.union(&found).count() > ADDRESSES_MAX => {
                Err(format!("{ADDRESSES_MAX} addresses are the most that are looked at"))
            }
            found => found,
        };
        match found {
            Ok(found) => {
                self.addresses.extend(&found);
                self.names.insert(name, found);
            }
            Err(reason) => self.failures.push((name, reason)),
        }
    }

    /// The addresses that should have been heard, and were not. Where a name has IPv4 and IPv6 addresses they are the
    /// same nodes': to have heard all of one family is to have heard all.
    #[must_use]
    pub fn unheard(&self, heard: impl Fn(&SocketAddr) -> bool) -> BTreeSet<SocketAddr> {
        let mut unheard = BTreeSet::new();
        for addresses in self.names.values() {
            let (four, six): (Vec<_>, Vec<_>) = addresses.iter().partition(|a| a.is_ipv4());
            let is_heard = |family: &[SocketAddr]| !family.is_empty() && family.iter().all(&heard);
            if !is_heard(&four) && !is_heard(&six) {
                unheard.extend(addresses.iter().filter(|address| !heard(address)));
            }
        }
        unheard
    }
}

/// One thing that was written.
#[derive(Clone, Copy)]
enum Asked<'a> {
    Peer(&'a PeerAddress),
    Discover(&'a Discover),
}

impl std::fmt::Display for Asked<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Peer(peer) => peer.fmt(f),
            Self::Discover(discover) => discover.fmt(f),
        }
    }
}

impl Asked<'_> {
    async fn answer(
        self,
        resolver: Option<&TokioResolver>,
    ) -> (String, Result<BTreeSet<SocketAddr>, String>) {
        let found = timeout(NAME_WITHIN, self.resolve(resolver)).await;
        (self.to_string(), found.unwrap_or_else(|_| Err("no answer in time".to_owned())))
    }

    async fn resolve(
        self,
        resolver: Option<&TokioResolver>,
    ) -> Result<BTreeSet<SocketAddr>, String> {
        if let Self::Peer(PeerAddress { host: Host::Address(address), port }) = self {
            return Ok([SocketAddr::new(*address, *port)].into());
        }
        let resolver = resolver.ok_or("the resolver can't be set up")?;
        match self {
            Self::Peer(PeerAddress { host: Host::Address(_), .. }) => Ok(BTreeSet::new()),
            Self::Peer(PeerAddress { host: Host::Name(name), port })
            | Self::Discover(Discover::Addresses { name, port }) => {
                addresses(resolver, name, *port).await
            }
            Self::Discover(Discover::Service { name }) => targets(resolver, name).await,
        }
    }
}

async fn addresses(
    resolver: &TokioResolver,
    name: &str,
    port: u16,
) -> Result<BTreeSet<SocketAddr>, String> {
    let found = resolver.lookup_ip(name).await.map_err(|error| error.to_string())?;
    Ok(found.iter().map(|address| SocketAddr::new(address, port)).collect())
}

/// A service is asked for only by a service's name: asked for a plain one, CoreDNS names every port that the
/// Kubernetes service has, HTTP's too.
async fn targets(resolver: &TokioResolver, name: &str) -> Result<BTreeSet<SocketAddr>, String> {
    let records = resolver.srv_lookup(name).await.map_err(|error| error.to_string())?;
    let mut found = BTreeSet::new();
    for record in records.answers().iter().take(ADDRESSES_MAX) {
        if let RData::SRV(service) = &record.data {
            found.extend(addresses(resolver, &service.target.to_string(), service.port).await?);
        }
    }
    Ok(found)
}

/// A resolver as the system is configured; where that can't be read, one that knows `/etc/hosts` alone.
fn resolver() -> Option<TokioResolver> {
    let system = TokioResolver::builder_tokio();
    let mut builder = system.unwrap_or_else(|_| {
        let nowhere = ResolverConfig::from_parts(None, Vec::new(), Vec::new());
        Resolver::builder_with_config(nowhere, TokioRuntimeProvider::default())
    });
    let options = builder.options_mut();
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    options.use_hosts_file = ResolveHosts::Always;
    options.timeout = QUESTION_WITHIN;
    options.cache_size = 0;
    builder.build().ok()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use hickory_resolver::{
        config::{ConnectionConfig, NameServerConfig},
        proto::{
            op::{Message, MessageType, ResponseCode},
            rr::{
                Name, Record,
                rdata::{A, AAAA, SRV},
            },
        },
    };
    use tokio::net::UdpSocket;

    use super::*;

    fn candidates(peers: &[&str], discover: Option<&str>) -> Candidates {
        let peers = peers.iter().map(|peer| peer.parse().unwrap()).collect();
        Candidates::new(peers, discover.map(|discover| discover.parse().unwrap()))
    }

    fn set(addresses: &[&str]) -> BTreeSet<SocketAddr> {
        addresses.iter().map(|address| address.parse().unwrap()).collect()
    }

    type Zone = Arc<Mutex<Vec<(&'static str, RData)>>>;

    /// A name server on loopback that knows `zone`, and a resolver that asks it.
    async fn serve(zone: Zone) -> TokioResolver {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let port = socket.local_addr().unwrap().port();
        tokio::spawn(async move {
            let mut buffer = [0; 4096];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                let mut message = Message::from_vec(&buffer[..length]).unwrap();
                message.metadata.message_type = MessageType::Response;
                let query = message.queries[0].clone();
                let (name, kind) = (query.name().clone(), query.query_type());
                let known = zone.lock().unwrap().clone();
                let is_it = |(other, _): &&(&str, RData)| Name::from_ascii(other).unwrap() == name;
                let mut records = known.iter().filter(is_it).peekable();
                if records.peek().is_none() {
                    message.metadata.response_code = ResponseCode::NXDomain;
                }
                for (_, data) in records.filter(|(_, data)| data.record_type() == kind) {
                    message.add_answer(Record::from_rdata(name.clone(), 60, data.clone()));
                }
                socket.send_to(&message.to_vec().unwrap(), from).await.unwrap();
            }
        });
        let mut connection = ConnectionConfig::udp();
        connection.port = port;
        let localhost = "127.0.0.1".parse().unwrap();
        let server = NameServerConfig::new(localhost, true, vec![connection]);
        let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
        let mut builder = Resolver::builder_with_config(config, TokioRuntimeProvider::default());
        builder.options_mut().cache_size = 0;
        builder.options_mut().ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        builder.build().unwrap()
    }

    fn service(port: u16, target: &str) -> RData {
        RData::SRV(SRV::new(0, 0, port, Name::from_ascii(target).unwrap()))
    }

    #[tokio::test]
    async fn addresses_need_no_resolver() {
        let candidates = candidates(&["10.0.0.7", "[::1]:7401"], None);

        let found = candidates.resolve_with(None).await;

        assert_eq!(found.addresses, set(&["10.0.0.7:7400", "[::1]:7401"]));
        assert_eq!(found.failures, []);
    }

    #[tokio::test]
    async fn localhost_is_this_machine_whatever_the_name_servers_say() {
        let found = candidates(&["localhost:7401"], None).resolve().await;

        assert!(found.addresses.contains(&"127.0.0.1:7401".parse().unwrap()), "{found:?}");
    }

    #[tokio::test]
    async fn a_names_addresses_of_both_families_are_found() {
        let zone = vec![
            ("apolo.bots.", RData::A(A::new(10, 0, 0, 7))),
            ("apolo.bots.", RData::A(A::new(10, 0, 0, 8))),
            ("apolo.bots.", RData::AAAA(AAAA::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7))),
        ];
        let resolver = serve(Arc::new(Mutex::new(zone))).await;

        let found = candidates(&["apolo.bots:7411"], Some("dns:apolo.bots"));
        let found = found.resolve_with(Some(&resolver)).await;

        let expected = ["10.0.0.7", "10.0.0.8", "[2001:db8::7]"];
        let expected = expected.iter().flat_map(|a| [format!("{a}:7400"), format!("{a}:7411")]);
        let expected: Vec<_> = expected.collect();
        let expected: Vec<_> = expected.iter().map(String::as_str).collect();
        assert_eq!(found.addresses, set(&expected));
    }

    #[tokio::test]
    async fn a_services_targets_bring_their_ports() {
        let zone = vec![
            ("_apolo._udp.bots.", service(7401, "a.bots.")),
            ("_apolo._udp.bots.", service(7402, "b.bots.")),
            ("a.bots.", RData::A(A::new(10, 0, 0, 7))),
            ("b.bots.", RData::A(A::new(10, 0, 0, 7))),
        ];
        let resolver = serve(Arc::new(Mutex::new(zone))).await;

        let found = candidates(&[], Some("dns:_apolo._udp.bots"));
        let found = found.resolve_with(Some(&resolver)).await;

        assert_eq!(found.addresses, set(&["10.0.0.7:7401", "10.0.0.7:7402"]));
        assert_eq!(found.failures, []);
    }

    #[tokio::test]
    async fn a_name_that_appears_is_found_at_the_next_look() {
        let zone = Zone::default();
        let resolver = serve(zone.clone()).await;
        let candidates = candidates(&["late.bots"], None);

        let before = candidates.resolve_with(Some(&resolver)).await;
        zone.lock().unwrap().push(("late.bots.", RData::A(A::new(10, 0, 0, 9))));
        let after = candidates.resolve_with(Some(&resolver)).await;

        assert_eq!(before.failures.len(), 1, "{before:?}");
        assert_eq!(before.failures[0].0, "late.bots:7400");
        assert_eq!(after.addresses, set(&["10.0.0.9:7400"]));
    }

    #[test]
    fn too_many_addresses_are_a_failure_and_not_a_part_of_them() {
        let many = (0..=255_u8).flat_map(|a| [SocketAddr::from(([10, 0, 0, a], 1)); 1]);
        let mut resolution = Resolution::default();

        resolution.add("one".to_owned(), Ok(set(&["10.1.0.1:1"])));
        resolution.add("many".to_owned(), Ok(many.collect()));

        assert_eq!(resolution.addresses, set(&["10.1.0.1:1"]));
        assert_eq!(resolution.failures[0].0, "many");
    }

    #[test]
    fn to_have_heard_one_family_of_a_name_is_to_have_heard_the_name() {
        let both = set(&["10.0.0.1:1", "10.0.0.2:1", "[::1]:1"]);
        let mut resolution = Resolution::default();
        resolution.add("both".to_owned(), Ok(both));
        resolution.add("[::2]:1".to_owned(), Ok(set(&["[::2]:1"])));
        let unheard = |heard: &[&str]| {
            let heard = set(heard);
            resolution.unheard(|address| heard.contains(address))
        };

        assert_eq!(unheard(&["10.0.0.1:1", "10.0.0.2:1", "[::2]:1"]), set(&[]));
        assert_eq!(unheard(&["[::1]:1", "[::2]:1"]), set(&[]));
        assert_eq!(unheard(&["10.0.0.1:1", "[::2]:1"]), set(&["10.0.0.2:1", "[::1]:1"]));
        assert_eq!(unheard(&["10.0.0.1:1", "10.0.0.2:1"]), set(&["[::2]:1"]));
    }
}
