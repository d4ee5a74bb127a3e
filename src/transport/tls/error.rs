//! What can be wrong with an authority's files, its leaves and requests.

use std::{io, path::PathBuf};

use thiserror::Error;

use crate::model::UnixMillis;

use super::{Identity, Refusal};

/// Why an authority, a leaf or a request was not accepted. What was in use before stays in use.
#[derive(Debug, Error)]
pub enum AuthorityError {
    /// A file is missing, or can't be read or written.
    #[error("can't use {path}: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: io::Error,
    },
    /// An authority exists there already.
    #[error("{path} exists; an authority is made once, so choose another --ca-dir")]
    Exists {
        /// The file that is there.
        path: PathBuf,
    },
    /// Others could read or change the key.
    #[error("key {path} has mode {mode:04o}: others could read or change it; run chmod 600 {path}")]
    Exposed {
        /// The key's file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// A file is larger than any certificate or key.
    #[error("{path} is larger than {max} bytes, which no certificate or key is")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The most that is read.
        max: u64,
    },
    /// A file holds something else.
    #[error("{path} holds no {wanted} in PEM form")]
    NotPem {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        wanted: &'static str,
    },
    /// A certificate is no authority.
    #[error("certificate {nth} in {path} may not sign others (it is no CA)")]
    NotAnAuthority {
        /// The file.
        path: PathBuf,
        /// Which one, from 1.
        nth: usize,
    },
    /// The key belongs to none of the certificates.
    #[error("key {key} belongs to no certificate in {certificates}; put the matching pair there")]
    Mismatch {
        /// The key's file.
        key: PathBuf,
        /// The certificates' file.
        certificates: PathBuf,
    },
    /// The authority that the key belongs to is past its end.
    #[error("the authority in {path} ended at {ended:?} (milliseconds since 1970); make a new one")]
    Ended {
        /// The file.
        path: PathBuf,
        /// When.
        ended: UnixMillis,
    },
    /// A leaf's key is not its certificate's.
    #[error("the leaf's key is not its certificate's")]
    LeafMismatch,
    /// A leaf is someone else's.
    #[error("the leaf names {found}, and this node is {own}")]
    LeafForeign {
        /// Whom it names.
        found: Identity,
        /// Who this node is.
        own: Identity,
    },
    /// A leaf would be refused by every peer.
    #[error("peers would refuse the leaf: {0}")]
    LeafRefused(Refusal),
    /// A signing request asks for something else than the identity that was granted.
    #[error("the signing request asks for more than {granted}")]
    RequestForeign {
        /// What was granted.
        granted: Identity,
    },
    /// A signing request can't be read, or its signature is wrong.
    #[error("the signing request is malformed")]
    RequestMalformed,
    /// Authorities came without the word of a trusted one, or with one that was given too long ago.
    #[error("the authorities that were sent are vouched for by none that is trusted here")]
    BundleForeign,
    /// Signing failed.
    #[error("can't sign: {0}")]
    Sign(#[from] rcgen::Error),
    /// rustls refused.
    #[error("can't be used for TLS: {0}")]
    Tls(#[from] rustls::Error),
}
