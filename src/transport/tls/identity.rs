//! The name in a certificate, as a URI and as the DNS name that a dialer expects.

use std::{fmt, str::FromStr};

use uuid::Uuid;

use crate::model::{ClusterId, NodeId};

use super::Refusal;

/// What a certificate entitles its holder to.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Role {
    /// A member of the cluster.
    Server,
    /// A node that wants to become one. It may only open the join stream.
    Joiner,
}

impl Role {
    /// Every role, for tables.
    pub const ALL: [Self; 2] = [Self::Server, Self::Joiner];

    /// The role as it stands in the URI and in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Joiner => "joiner",
        }
    }
}

/// Who holds a certificate.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Identity {
    /// The cluster; the nil UUID for a joiner that knows none yet.
    pub cluster: ClusterId,
    /// What it may do.
    pub role: Role,
    /// The node.
    pub node: NodeId,
}

impl Identity {
    /// A member of `cluster`.
    #[must_use]
    pub const fn server(cluster: ClusterId, node: NodeId) -> Self {
        Self { cluster, role: Role::Server, node }
    }

    /// A node that belongs to no cluster yet.
    #[must_use]
    pub const fn joiner(node: NodeId) -> Self {
        Self { cluster: ClusterId(Uuid::nil()), role: Role::Joiner, node }
    }

    /// The certificate's URI, `apolo://<cluster>/<role>/<node>`.
    #[must_use]
    pub fn uri(&self) -> String {
        self.to_string()
    }

    /// The certificate's DNS name, which whoever dials this node names: so that a connection to a wrong node, at an
    /// address that has changed hands, is impossible.
    #[must_use]
    pub fn dns_name(&self) -> String {
        format!("n-{}.{}.apolo", self.node, self.cluster)
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "apolo://{}/{}/{}", self.cluster, self.role.as_str(), self.node)
    }
}

impl FromStr for Identity {
    type Err = Refusal;

    /// Accepts exactly what [`Identity::uri`] writes: no other case, no query, no missing zero.
    fn from_str(text: &str) -> Result<Self, Refusal> {
        let mut parts = text.strip_prefix("apolo://").ok_or(Refusal::UriMalformed)?.split('/');
        let (Some(cluster), Some(role), Some(node), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Refusal::UriMalformed);
        };
        let role = Role::ALL
            .into_iter()
            .find(|known| known.as_str() == role)
            .ok_or(Refusal::RoleUnknown)?;
        let cluster = Uuid::parse_str(cluster).map_err(|_| Refusal::UriMalformed)?;
        let node = u64::from_str_radix(node, 16).map_err(|_| Refusal::UriMalformed)?;
        let identity = Self { cluster: ClusterId(cluster), role, node: NodeId(node) };
        if identity.uri() == text { Ok(identity) } else { Err(Refusal::UriMalformed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const URI: &str = "apolo://00000000-0000-0000-0000-0000000000aa/server/00000000000000ff";

    #[test]
    fn an_identity_reads_back_what_it_writes() {
        let identity: Identity = URI.parse().unwrap();

        assert_eq!(identity.node, NodeId(0xff));
        assert_eq!(identity.role, Role::Server);
        assert_eq!(identity.uri(), URI);
        assert_eq!(
            identity.dns_name(),
            "n-00000000000000ff.00000000-0000-0000-0000-0000000000aa.apolo"
        );
    }

    #[test]
    fn nothing_but_the_exact_form_is_an_identity() {
        for wrong in [
            "",
            "apolo://",
            "https://00000000-0000-0000-0000-0000000000aa/server/00000000000000ff",
            "apolo://00000000-0000-0000-0000-0000000000aa/server/ff",
            "apolo://00000000-0000-0000-0000-0000000000aa/server/+0000000000000ff",
            "apolo://00000000-0000-0000-0000-0000000000aa/server/00000000000000FF",
            "apolo://00000000-0000-0000-0000-0000000000AA/server/00000000000000ff",
            "apolo://00000000-0000-0000-0000-0000000000aa/server/00000000000000ff/",
            "apolo://00000000-0000-0000-0000-0000000000aa/server/00000000000000ff?x",
            "apolo://*/server/00000000000000ff",
            "apolo://00000000-0000-0000-0000-0000000000aa//00000000000000ff",
        ] {
            assert!(wrong.parse::<Identity>().is_err(), "{wrong}");
        }
        let admin = URI.replace("server", "admin");
        assert_eq!(admin.parse::<Identity>(), Err(Refusal::RoleUnknown));
    }
}
