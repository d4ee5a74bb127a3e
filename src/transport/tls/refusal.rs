//! Why a peer's certificate was refused.

use rustls::CertificateError;
use thiserror::Error;

/// Why a peer was turned away before it could open a stream. Each reason is a metric's label of its own.
#[derive(Clone, Copy, Debug, Eq, Error, Hash, Ord, PartialEq, PartialOrd)]
pub enum Refusal {
    /// It showed no certificate.
    #[error("it showed no certificate")]
    NoCertificate,
    /// It speaks another protocol than `apolo/1`.
    #[error("it does not speak apolo/1")]
    OtherProtocol,
    /// Its certificate can't be read.
    #[error("its certificate is malformed")]
    Malformed,
    /// Its certificate is signed by none of the cluster's authorities.
    #[error("its certificate is signed by an unknown authority")]
    UnknownAuthority,
    /// Its certificate is past its end.
    #[error("its certificate has expired; check both clocks")]
    Expired,
    /// Its certificate is before its beginning.
    #[error("its certificate is not valid yet; check both clocks")]
    NotYetValid,
    /// The certificate is for something else than being a node.
    #[error("its certificate is made for another purpose")]
    OtherPurpose,
    /// Any other fault of the chain or its signatures.
    #[error("its certificate can't be trusted")]
    Untrusted,
    /// The certificate names no URI.
    #[error("its certificate names no apolo URI")]
    UriMissing,
    /// The certificate names more than one URI.
    #[error("its certificate names more than one URI")]
    UriMany,
    /// The certificate's URI is none of ours.
    #[error("its certificate's URI is no apolo identity")]
    UriMalformed,
    /// The certificate's URI names a role that this version does not know.
    #[error("its certificate names an unknown role")]
    RoleUnknown,
    /// The certificate's other names are not exactly the node's DNS name.
    #[error("its certificate names something besides the node")]
    ForeignName,
    /// It belongs to another cluster.
    #[error("it belongs to another cluster")]
    OtherCluster,
    /// It is another node than the one that was dialled.
    #[error("it is another node than the one that was dialled")]
    OtherNode,
    /// Its role has no business here.
    #[error("its role has no business here")]
    RoleNotAllowed,
    /// The handshake failed for another reason.
    #[error("the handshake failed")]
    Handshake,
    /// There are too many unfinished handshakes.
    #[error("too many handshakes are under way")]
    TooMany,
}

impl Refusal {
    /// Every reason, in the order of its number.
    pub const ALL: [Self; 18] = [
        Self::NoCertificate,
        Self::OtherProtocol,
        Self::Malformed,
        Self::UnknownAuthority,
        Self::Expired,
        Self::NotYetValid,
        Self::OtherPurpose,
        Self::Untrusted,
        Self::UriMissing,
        Self::UriMany,
        Self::UriMalformed,
        Self::RoleUnknown,
        Self::ForeignName,
        Self::OtherCluster,
        Self::OtherNode,
        Self::RoleNotAllowed,
        Self::Handshake,
        Self::TooMany,
    ];

    /// The label in metrics and log lines.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoCertificate => "no_certificate",
            Self::OtherProtocol => "other_protocol",
            Self::Malformed => "malformed",
            Self::UnknownAuthority => "unknown_authority",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::OtherPurpose => "other_purpose",
            Self::Untrusted => "untrusted",
            Self::UriMissing => "uri_missing",
            Self::UriMany => "uri_many",
            Self::UriMalformed => "uri_malformed",
            Self::RoleUnknown => "role_unknown",
            Self::ForeignName => "foreign_name",
            Self::OtherCluster => "other_cluster",
            Self::OtherNode => "other_node",
            Self::RoleNotAllowed => "role_not_allowed",
            Self::Handshake => "handshake",
            Self::TooMany => "too_many",
        }
    }

    /// What rustls found, in our words.
    pub(super) fn of(error: &rustls::Error) -> Self {
        match error {
            rustls::Error::NoCertificatesPresented => Self::NoCertificate,
            rustls::Error::NoApplicationProtocol => Self::OtherProtocol,
            rustls::Error::InvalidCertificate(error) => Self::of_certificate(error),
            _ => Self::Handshake,
        }
    }

    fn of_certificate(error: &CertificateError) -> Self {
        match error {
            CertificateError::BadEncoding => Self::Malformed,
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                Self::NotYetValid
            }
            CertificateError::UnknownIssuer => Self::UnknownAuthority,
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                Self::OtherPurpose
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Self::OtherNode
            }
            _ => Self::Untrusted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_label_of_its_own() {
        let mut labels: Vec<_> = Refusal::ALL.iter().map(|reason| reason.as_str()).collect();
        labels.sort_unstable();
        labels.dedup();

        assert_eq!(labels.len(), Refusal::ALL.len());
        for (nth, reason) in Refusal::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, nth);
        }
    }
}
