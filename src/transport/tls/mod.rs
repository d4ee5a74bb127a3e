//! Who may speak: the cluster's authority, the nodes' short-lived leaves, and the checks of both sides.
//!
//! Promises: a peer is known by its certificate alone, never by its address; whatever is wrong with a certificate has
//! a [`Refusal`] of its own; leaves and roots can be replaced while connections live.
//! Does not: decide what a peer may do once it is known (that is [`allowed`](super::allowed)), or keep keys but in
//! memory and the authority's directory.
//!
//! ```text
//! ca.crt, ca.key ─▶ Authority ──mint──▶ Leaf ─▶ Credentials ─▶ rustls, both ways
//!                        └───────roots──────────────▲ ▲
//!                                       renew ──────┘ (at 2/3 of a leaf's life, and whenever the files change)
//! ```

mod authority;
mod bundle;
mod certificate;
mod config;
mod credentials;
mod door;
mod error;
mod files;
mod identity;
mod kept;
mod refusal;
mod renew;
mod request;
mod roll;
mod token;
mod verify;

pub use authority::{Authority, LEAF_LIFETIME, Leaf};
pub use bundle::Bundle;
pub use credentials::Credentials;
pub use error::AuthorityError;
pub use identity::{Identity, Role};
pub use kept::Kept;
pub use refusal::Refusal;
pub use renew::{Renewal, renew};
pub use request::SigningRequest;
pub use roll::{Roll, Stage};
pub use token::{JoinSecret, JoinToken, JoinTokenError, Pin};

pub(super) use certificate::inspect;
pub(super) use config::{MEET, client, name_of, server};
pub(super) use door::{Pinned, accepting};
pub(super) use verify::admit;
