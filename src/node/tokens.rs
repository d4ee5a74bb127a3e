//! Tokens by which nodes join, as an operator asks about them.

use std::sync::Arc;

use crate::http::{Changed, TokenAnswer, TokenAsk, TokenCreated, TokenRequest, TokenRow};
use crate::model::{TokenId, UnixMillis};
use crate::raft::Handle;
use crate::state::{Command, Invitation, NewToken, Outcome, State};
use crate::transport::Credentials;

/// Does it, or says why not.
pub(super) async fn tokens(
    raft: &Handle,
    credentials: &Credentials,
    ask: TokenAsk,
) -> Result<TokenAnswer, String> {
    match ask {
        TokenAsk::List => Ok(TokenAnswer::List(list(&raft.states().borrow()))),
        TokenAsk::Create(request) => create(raft, credentials, request).await,
        TokenAsk::Revoke(token) => {
            propose(raft, Command::RevokeToken { token }).await?;
            let done = format!("nobody joins with token {token} any more");
            Ok(TokenAnswer::Revoked(Changed { done }))
        }
    }
}

fn list(state: &State) -> Vec<TokenRow> {
    let row = |(id, token): (&TokenId, &Invitation)| TokenRow {
        id: id.to_string(),
        name: token.name.clone(),
        expires_at: token.expires_at,
        used_by: token.used.map(|used| {
            let node = state.nodes().get(&used.node);
            node.map_or_else(|| used.node.to_string(), |node| node.name.clone())
        }),
        used_at: token.used.map(|used| used.at),
    };
    state.tokens().iter().map(row).collect()
}

async fn create(
    raft: &Handle,
    credentials: &Credentials,
    request: TokenRequest,
) -> Result<TokenAnswer, String> {
    let TokenRequest { id, salt, hash, lifetime_ms, name } = request;
    let pin = credentials.pin().ok_or("this node does not know who has signed its certificate")?;
    let at = UnixMillis::now();
    let new = NewToken { id, name, salt, hash, lifetime_ms, at };
    propose(raft, Command::CreateToken(new)).await?;
    let state = Arc::clone(&raft.states().borrow());
    let expires_at = state.tokens().get(&id).map(|token| token.expires_at);
    let expires_at = expires_at.ok_or("the token was revoked meanwhile")?;
    tracing::info!(token = %id, ?expires_at, "a token to join with was made");
    Ok(TokenAnswer::Created(TokenCreated { pin: pin.to_string(), expires_at }))
}

async fn propose(raft: &Handle, command: Command) -> Result<(), String> {
    match raft.propose(command).await {
        Ok(Outcome::Applied | Outcome::Stale | Outcome::User(_) | Outcome::Restored(_)) => Ok(()),
        Ok(Outcome::Refused(refusal)) => Err(refusal.to_string()),
        Err(error) => Err(error.to_string()),
    }
}
