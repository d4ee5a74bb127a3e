//! Reads what we need from a certificate: whose it is and how long.

use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use crate::model::UnixMillis;

use super::{Identity, Refusal};

/// What a certificate says about its holder. Nothing in it is proven before the chain is verified.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::transport) struct Inspected {
    pub(in crate::transport) identity: Identity,
    pub(in crate::transport) not_before: UnixMillis,
    pub(in crate::transport) not_after: UnixMillis,
}

/// Reads a leaf, strictly: exactly one URI, which is an apolo identity, and beside it that identity's DNS name alone.
///
/// A certificate with more names could be one thing to this check and another to the next (Consul CVE-2022-40716).
pub(in crate::transport) fn inspect(leaf: &CertificateDer<'_>) -> Result<Inspected, Refusal> {
    let (rest, certificate) = X509Certificate::from_der(leaf).map_err(|_| Refusal::Malformed)?;
    if !rest.is_empty() {
        return Err(Refusal::Malformed);
    }
    let names = certificate.subject_alternative_name().map_err(|_| Refusal::Malformed)?;
    let names = names.map_or(&[][..], |names| &names.value.general_names);
    let mut uris = names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    let identity: Identity = uris.next().ok_or(Refusal::UriMissing)?.parse()?;
    if uris.next().is_some() {
        return Err(Refusal::UriMany);
    }
    let expected = identity.dns_name();
    let mut others = names.iter().filter(|name| !matches!(name, GeneralName::URI(_)));
    let dns = matches!(others.next(), Some(GeneralName::DNSName(name)) if *name == expected);
    if !dns || others.next().is_some() {
        return Err(Refusal::ForeignName);
    }
    let validity = certificate.validity();
    Ok(Inspected {
        identity,
        not_before: millis(validity.not_before.timestamp()),
        not_after: millis(validity.not_after.timestamp()),
    })
}

/// A certificate's time; what lies before 1970 is 1970.
pub(super) fn millis(seconds: i64) -> UnixMillis {
    UnixMillis(u64::try_from(seconds).unwrap_or(0).saturating_mul(1000))
}
