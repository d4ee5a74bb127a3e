//! Nodes that hold no authority's key: how one is let in with a token, and how its leaf is renewed.
//!
//! Promises: a token lets one node in, which may lose the answer and ask again; its secret is sent to a member of the
//! token's cluster alone, and kept by nobody; a key stays on the node where it was made; the signer decides which names
//! are in a leaf, and signs none for a node that is another's or is no member any more.
//! Does not: make the node a member. Whoever has a leaf joins as all others do.
//!
//! ```text
//!  Enrol ──door──▶ Admission ─▶ the log: UseToken ─▶ leaf, authorities ─▶ Kept (leaf.pem)
//!  Renewing ──sign──▶ Signer (a member with the key): a leaf at 2/3 of its life, authorities as they change
//! ```

mod admission;
mod attempts;
mod enrol;
mod renewing;
mod signer;
mod wire;

pub use admission::Admission;
pub use enrol::{Enrol, EnrolError, Enrolled};
pub use renewing::Renewing;
pub use signer::Signer;
