//! Tokens by which nodes without the authority's key join: who may use one, how long, and whether one has.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Outcome, Refusal, State};
use crate::model::{NodeId, TokenId, UnixMillis};

/// A token's longest life: who has read it somewhere may use it as long.
pub const TOKEN_LIFETIME_MAX: Duration = Duration::from_hours(24);

/// The most tokens that are on record: what an operator makes in a day, and a bound for the state.
const TOKENS_MAX: usize = 256;

/// The longest name that a token is bound to, in bytes: the bound of a node's name.
const NAME_BYTES_MAX: usize = 63;

/// A token as all replicas know it. None of them knows its secret.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Invitation {
    /// The name of the only node that may use it; any, where there is none.
    pub name: Option<String>,
    /// What was hashed in front of the secret.
    pub salt: [u8; 16],
    /// SHA-256 of the salt and the secret.
    pub hash: [u8; 32],
    /// From here on it is refused.
    pub expires_at: UnixMillis,
    /// By whom it was used, and when.
    pub used: Option<TokenUse>,
}

/// That a token was used.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct TokenUse {
    /// By which node.
    pub node: NodeId,
    /// SHA-256 of the public key that was signed. Whoever shows the token again with this key is the same node, whose
    /// answer was lost; nobody else has the key.
    pub key: [u8; 32],
    /// When.
    pub at: UnixMillis,
}

/// A token that is to be on record.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct NewToken {
    /// Its public part.
    pub id: TokenId,
    /// The name of the only node that may use it.
    pub name: Option<String>,
    /// What was hashed in front of the secret.
    pub salt: [u8; 16],
    /// SHA-256 of the salt and the secret.
    pub hash: [u8; 32],
    /// How long it may be used, in milliseconds.
    pub lifetime_ms: u64,
    /// The leader's time.
    pub at: UnixMillis,
}

impl State {
    /// Puts a token on record. Those that have ended make room.
    pub(super) fn create_token(&mut self, new: NewToken) -> Outcome {
        let lifetime = Duration::from_millis(new.lifetime_ms);
        let named = new.name.as_ref().is_none_or(|name| name.len() <= NAME_BYTES_MAX);
        if lifetime.is_zero() || lifetime > TOKEN_LIFETIME_MAX || !named {
            return Outcome::Refused(Refusal::TokenMalformed);
        }
        let wanted = Invitation {
            name: new.name,
            salt: new.salt,
            hash: new.hash,
            expires_at: new.at.plus(lifetime),
            used: None,
        };
        if let Some(known) = self.tokens.get(&new.id) {
            // A proposal that is repeated carries a later time.
            let same = (known.salt, known.hash) == (wanted.salt, wanted.hash);
            return if same { Outcome::Applied } else { Outcome::Refused(Refusal::TokenExists) };
        }
        self.tokens.retain(|_, token| token.expires_at > new.at);
        if self.tokens.len() >= TOKENS_MAX {
            return Outcome::Refused(Refusal::TokensMany(TOKENS_MAX));
        }
        self.tokens.insert(new.id, wanted);
        Outcome::Applied
    }

    /// Compares and sets: of two that use one token, in whatever order, one has it.
    pub(super) fn use_token(&mut self, id: TokenId, name: &str, by: TokenUse) -> Outcome {
        let holder = self.holder_of(id, by);
        let Some(token) = self.tokens.get_mut(&id) else {
            return Outcome::Refused(Refusal::TokenUnknown);
        };
        if let Some(used) = token.used
            && (used.node, used.key) != (by.node, by.key)
        {
            return Outcome::Refused(Refusal::TokenUsed);
        }
        if by.at >= token.expires_at {
            return Outcome::Refused(Refusal::TokenExpired { at: token.expires_at });
        }
        if let Some(bound) = token.name.as_ref().filter(|bound| *bound != name) {
            return Outcome::Refused(Refusal::TokenBound(bound.clone()));
        }
        if let Some(holder) = holder.filter(|holder| token.name.as_ref() != Some(holder)) {
            return Outcome::Refused(Refusal::NodeTaken(holder));
        }
        token.used.get_or_insert(by);
        Outcome::Applied
    }

    /// The name of the node that has the id already which `by` wants: as a member, or by another token. Only a token
    /// for that name lets it in again, which its operator has made for a node whose leaf has ended.
    fn holder_of(&self, id: TokenId, by: TokenUse) -> Option<String> {
        if let Some(node) = self.nodes.get(&by.node) {
            let same = self.tokens.get(&id).and_then(|token| token.used);
            let again = same.is_some_and(|used| (used.node, used.key) == (by.node, by.key));
            return (!again).then(|| node.name.clone());
        }
        let others = self.tokens.iter().filter(|(other, _)| **other != id);
        let mut used = others.filter_map(|(_, token)| token.used);
        let taken = used.any(|used| used.node == by.node && used.key != by.key);
        taken.then(|| by.node.to_string())
    }

    pub(super) fn revoke_token(&mut self, id: TokenId) -> Outcome {
        match self.tokens.remove(&id) {
            Some(_) => Outcome::Applied,
            None => Outcome::Refused(Refusal::TokenUnknown),
        }
    }
}
