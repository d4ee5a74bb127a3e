//! The first stream of every connection: both sides say who they are, and part if they do not fit.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::{BootEpoch, ClusterId, Format, Formats, NodeId, Profile};

use super::{CloseCode, Identity, Role, limits::BUILD_MAX};

/// The oldest protocol that this version speaks.
pub const PROTOCOL_MIN: u16 = 1;
/// The newest.
pub const PROTOCOL_MAX: u16 = 1;

const MAGIC: [u8; 4] = *b"apol";

/// Where a node stands in the Raft log, in numbers that mean nothing here. A leader that a node once told more knows
/// by them that its directory was restored from an old copy.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// The term of the last vote.
    pub vote_term: u64,
    /// Whom the vote was for.
    pub vote_node: u64,
    /// The term of the last log entry.
    pub last_term: u64,
    /// The index of the last log entry.
    pub last_index: u64,
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(super) enum Purpose {
    /// The connection between two members.
    Peer,
    /// Someone at an address is asked something, once.
    Meet,
}

/// What both sides say first. Fields are added at the end; an older version ignores what follows the ones it knows.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(super) struct Hello {
    magic: [u8; 4],
    protocol_min: u16,
    protocol_max: u16,
    cluster: ClusterId,
    node: NodeId,
    pub(super) boot: BootEpoch,
    pub(super) purpose: Purpose,
    /// The dialler's count of connections between the two nodes: see [`super::peer`].
    pub(super) serial: u64,
    pub(super) standing: Standing,
    pub(super) build: String,
    /// Drawn when the transport starts: of a directory and of an older copy of it, both may start under one boot epoch.
    /// Behind the rest, as the profile.
    #[serde(skip)]
    pub(super) process: u64,
    /// `None` where it is one of a later version. Behind the rest: a version that has no profiles says nothing, and
    /// goes by the default.
    #[serde(skip)]
    profile: Option<Profile>,
    /// The newest format that it reads, and that it lets the cluster write. Behind the rest: who says nothing reads the
    /// first.
    #[serde(skip)]
    pub(super) reads: Format,
    #[serde(skip)]
    pub(super) allows: Format,
}

impl Hello {
    pub(super) fn new(
        own: &Identity,
        boot: BootEpoch,
        purpose: Purpose,
        serial: u64,
        standing: Standing,
        build: &str,
        process: u64,
    ) -> Self {
        Self {
            magic: MAGIC,
            protocol_min: PROTOCOL_MIN,
            protocol_max: PROTOCOL_MAX,
            cluster: own.cluster,
            node: own.node,
            boot,
            purpose,
            serial,
            standing,
            build: build.chars().take(BUILD_MAX / 4).collect(),
            process,
            profile: Some(Profile::default()),
            reads: Format::MIN,
            allows: Format::MIN,
        }
    }

    pub(super) const fn with_formats(mut self, formats: Formats) -> Self {
        (self.reads, self.allows) = (formats.reads, formats.allows);
        self
    }

    pub(super) const fn with_profile(mut self, profile: Profile) -> Self {
        self.profile = Some(profile);
        self
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let profile = self.profile.unwrap_or_default();
        postcard::to_stdvec(&(self, profile, self.process, self.reads, self.allows))
            .unwrap_or_default()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Mismatch> {
        let not_apolo = || Mismatch::new(CloseCode::NotApolo, "the hello is malformed".to_owned());
        if !bytes.starts_with(&MAGIC) {
            return Err(not_apolo());
        }
        let (mut hello, rest): (Self, _) =
            postcard::take_from_bytes(bytes).map_err(|_| not_apolo())?;
        hello.profile = Some(Profile::default());
        if !rest.is_empty() {
            let profile = postcard::take_from_bytes::<Profile>(rest).ok();
            hello.profile = profile.map(|(profile, _)| profile);
            let process = profile.and_then(|(_, rest)| postcard::take_from_bytes(rest).ok());
            let reads = process.and_then(|(_, rest)| postcard::take_from_bytes(rest).ok());
            hello.process = process.map_or(0, |(process, _)| process);
            let allows = reads.and_then(|(_, rest)| postcard::take_from_bytes(rest).ok());
            hello.reads = reads.map_or(Format::MIN, |(reads, _)| reads);
            hello.allows = allows.map_or(Format::MIN, |(allows, _newer)| allows);
        }
        if hello.build.len() > BUILD_MAX { Err(not_apolo()) } else { Ok(hello) }
    }

    /// Leases are safe only between nodes that count alike.
    pub(super) fn check_profile(&self, own: Profile) -> Result<(), Mismatch> {
        if self.profile == Some(own) {
            return Ok(());
        }
        let theirs = self.profile.map_or("that this one does not know", Profile::as_str);
        let text = format!(
            "that node goes by the profile {theirs}, this one by {own}; give all nodes of a cluster the same --profile"
        );
        Err(Mismatch::new(CloseCode::NotAdmitted, text))
    }

    /// What cannot be read is never sent.
    pub(super) fn check_format(&self, own: Formats) -> Result<(), Mismatch> {
        if self.reads >= own.writes {
            return Ok(());
        }
        let text = format!(
            "the cluster writes format {}, and that node reads format {} and older: give it the apolo that the others have",
            own.writes, self.reads
        );
        Err(Mismatch::new(CloseCode::NoCommonVersion, text))
    }

    /// Checks the peer's hello against its certificate and this node; yields the protocol's version.
    pub(super) fn check(&self, own: &Identity, proven: &Identity) -> Result<u16, Mismatch> {
        let version = self.protocol_max.min(PROTOCOL_MAX);
        if version < self.protocol_min.max(PROTOCOL_MIN) {
            let text = format!(
                "that node speaks protocol {} to {}, this one {PROTOCOL_MIN} to {PROTOCOL_MAX}; \
                 upgrade the older one, one version at a time",
                self.protocol_min, self.protocol_max
            );
            return Err(Mismatch::new(CloseCode::NoCommonVersion, text));
        }
        if self.node != proven.node {
            let text =
                format!("the hello says node {}, the certificate {}", self.node, proven.node);
            return Err(Mismatch::new(CloseCode::OtherNode, text));
        }
        if self.cluster != proven.cluster {
            let text = format!(
                "the hello says cluster {}, the certificate {}",
                self.cluster, proven.cluster
            );
            return Err(Mismatch::new(CloseCode::OtherCluster, text));
        }
        let members = own.role == Role::Server && proven.role == Role::Server;
        if members && own.cluster != proven.cluster {
            let text =
                format!("that node is of cluster {}, this one of {}", self.cluster, own.cluster);
            return Err(Mismatch::new(CloseCode::OtherCluster, text));
        }
        if self.node == own.node {
            let text = "a node has dialled itself, or two nodes share one identity".to_owned();
            return Err(Mismatch::new(CloseCode::Myself, text));
        }
        if self.purpose == Purpose::Peer && proven.role != Role::Server {
            let text = format!("a {} is no peer", proven.role.as_str());
            return Err(Mismatch::new(CloseCode::NotAdmitted, text));
        }
        Ok(version)
    }
}

/// Why two nodes part after their hellos.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Mismatch {
    pub(super) code: CloseCode,
    pub(super) reason: String,
}

impl Mismatch {
    pub(super) const fn new(code: CloseCode, reason: String) -> Self {
        Self { code, reason }
    }
}

/// What a node contributes to its hellos, and what it thinks of others'.
pub trait Local: Send + Sync + 'static {
    /// Where this node stands now.
    fn standing(&self) -> Standing {
        Standing::default()
    }

    /// What this node reads, and what its cluster writes.
    fn formats(&self) -> Formats {
        Formats::allowing(Format::MAX)
    }

    /// Whether to speak with `node`, given where it stands: whether its directory is as recent as it was. `process` is
    /// another one for each start.
    ///
    /// # Errors
    ///
    /// A sentence for the other node's operator; the connection is closed with it and [`CloseCode::OldCopy`].
    fn admit(&self, node: NodeId, process: u64, standing: Standing) -> Result<(), String> {
        let _ = (node, process, standing);
        Ok(())
    }

    /// A peer has closed a connection with [`CloseCode::OldCopy`], and says so.
    fn refused(&self, reason: &str) {
        let _ = reason;
    }
}

/// Stands nowhere, and speaks with everyone.
impl Local for () {}

/// Stands nowhere yet, and reads what it says.
impl Local for Formats {
    fn formats(&self) -> Formats {
        *self
    }
}

pub(super) type SharedLocal = Arc<dyn Local>;

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn own() -> Identity {
        Identity::server(ClusterId(Uuid::from_u128(7)), NodeId(1))
    }

    fn other() -> Identity {
        Identity::server(ClusterId(Uuid::from_u128(7)), NodeId(2))
    }

    fn hello(of: &Identity) -> Hello {
        let standing = Standing { vote_term: 3, vote_node: 2, last_term: 2, last_index: 300 };
        Hello::new(of, BootEpoch(5), Purpose::Peer, 9, standing, "apolo 0.1.0", 77)
    }

    #[test]
    fn bytes_of_version_1_stay_readable() {
        let golden = concat!(
            "61706f6c",                           // magic
            "0101",                               // protocol range
            "1000000000000000000000000000000007", // cluster
            "0205",                               // node, boot
            "0009",                               // purpose, serial
            "030202ac02",                         // standing
            "0b61706f6c6f20302e312e30",           // build
            "00",                                 // profile
            "4d",                                 // process
            "0505",                               // the newest format that it reads, and allows
        );
        let bytes = hello(&other()).encode();

        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, golden);
        assert_eq!(Hello::decode(&bytes), Ok(hello(&other())));
    }

    #[test]
    fn fields_of_a_newer_version_are_ignored() {
        let mut bytes = hello(&other()).encode();
        bytes.extend_from_slice(&[1, 2, 3]);

        assert_eq!(Hello::decode(&bytes), Ok(hello(&other())));
    }

    #[test]
    fn no_prefix_of_a_hello_is_a_hello() {
        let bytes = hello(&other()).encode();

        // The last four, profile, process and formats, were added later.
        for end in 0..bytes.len() - 4 {
            assert_eq!(Hello::decode(&bytes[..end]).unwrap_err().code, CloseCode::NotApolo);
        }
        assert_eq!(Hello::decode(b"GET / HTTP/1.1").unwrap_err().code, CloseCode::NotApolo);
    }

    #[test]
    fn a_hello_without_a_profile_goes_by_the_default() {
        let bytes = hello(&other()).encode();

        // Behind the rest are the profile, the process and the formats.
        let older = Hello { process: 0, ..hello(&other()) };
        assert_eq!(Hello::decode(&bytes[..bytes.len() - 4]), Ok(older));
    }

    #[test]
    fn who_says_nothing_of_formats_reads_the_first_and_parts_from_a_cluster_that_writes_the_next() {
        let formats = Formats { reads: Format(6), allows: Format(5), writes: Format(5) };
        let newer = hello(&other()).with_formats(formats);
        let older = Hello::decode(&newer.encode()[..newer.encode().len() - 2]).unwrap();
        let writes = |format| Formats { writes: format, ..formats };

        // Whatever it allows: what is written already it reads.
        assert_eq!(Hello::decode(&newer.encode()), Ok(newer.clone()));
        assert_eq!(newer.check_format(writes(Format(6))), Ok(()));
        assert_eq!(older.check_format(writes(Format(5))), Ok(()));
        let parted = older.check_format(writes(Format(6))).unwrap_err();
        assert_eq!(parted.code, CloseCode::NoCommonVersion);
        assert!(parted.reason.contains("writes format 6, and that node reads format 5"));
    }

    #[test]
    fn nodes_with_other_profiles_part_and_say_which() {
        let fast = hello(&other()).with_profile(Profile::Fast);
        let mut bytes = fast.encode();
        assert_eq!(Hello::decode(&bytes).unwrap().check_profile(Profile::Fast), Ok(()));

        let parted = fast.check_profile(Profile::Lan).unwrap_err();
        assert_eq!(parted.code, CloseCode::NotAdmitted);
        assert!(parted.reason.contains("profile fast, this one by lan"), "{}", parted.reason);
        let profile = bytes.len() - 4;
        bytes[profile] = 99;
        let future = Hello::decode(&bytes).unwrap();
        assert!(future.check_profile(Profile::Lan).is_err());
    }

    #[test]
    fn a_hello_that_fits_yields_the_newest_common_version() {
        let mut newer = hello(&other());
        newer.protocol_max = 9;

        assert_eq!(hello(&other()).check(&own(), &other()), Ok(1));
        assert_eq!(newer.check(&own(), &other()), Ok(1));
    }

    #[test]
    fn each_mismatch_has_its_code() {
        let code = |hello: &Hello, proven: &Identity| hello.check(&own(), proven).unwrap_err().code;
        let elsewhere = Identity::server(ClusterId(Uuid::from_u128(8)), NodeId(2));
        let mut future = hello(&other());
        (future.protocol_min, future.protocol_max) = (2, 3);

        assert_eq!(code(&future, &other()), CloseCode::NoCommonVersion);
        assert_eq!(code(&hello(&own()), &other()), CloseCode::OtherNode);
        assert_eq!(code(&hello(&elsewhere), &other()), CloseCode::OtherCluster);
        assert_eq!(code(&hello(&elsewhere), &elsewhere), CloseCode::OtherCluster);
        assert_eq!(code(&hello(&own()), &own()), CloseCode::Myself);
        let joiner = Identity::joiner(NodeId(3));
        assert_eq!(code(&hello(&joiner), &joiner), CloseCode::NotAdmitted);
    }
}
