//! What an operator asks of the cluster, as commands.

use crate::control::{Fulfilled, Wish, WishError, Wishes};
use crate::http::{Change, Changed};
use crate::model::{NodeId, ShardId};
use crate::raft::{Handle, ProposeError};
use crate::state::{Command, Move, Node, Outcome, Presence, State};

/// Commits the change, or has the leader make it, or says why not.
pub(super) async fn change(
    raft: &Handle,
    wishes: &Wishes,
    change: Change,
) -> Result<Changed, String> {
    let state = raft.states().borrow().as_ref().clone();
    let (command, done) = match change {
        Change::Drain { node, wanted } => drain(&state, &node, wanted)?,
        Change::Move { shard, to } => hand_off(&state, shard, &to)?,
        Change::Remove { node } => return remove(raft, &state, wishes, &node).await,
        Change::Leave | Change::Respawn { .. } => return Err("this is not for the log".to_owned()),
        Change::TransferLeader { to } => return transfer_leader(&state, wishes, to).await,
    };
    match raft.propose(command).await {
        Ok(Outcome::Applied | Outcome::User(_) | Outcome::Restored(_)) => Ok(Changed { done }),
        Ok(Outcome::Stale) => Err("the shard has moved meanwhile; look again".to_owned()),
        Ok(Outcome::Refused(refusal)) => Err(refusal.to_string()),
        Err(error) => Err(no_outcome(&error)),
    }
}

/// What an operator is told of a command without an outcome.
pub(super) fn no_outcome(error: &ProposeError) -> String {
    match error {
        ProposeError::NotLeader { .. } => WishError::NoLeader.to_string(),
        ProposeError::Unknown { .. } | ProposeError::Stopped(_) => {
            format!("{error}; `apolo status` shows whether it came to pass")
        }
        ProposeError::Overloaded => format!("{error}; try again"),
        ProposeError::TooLong { .. } => error.to_string(),
    }
}

fn drain(state: &State, node: &str, wanted: bool) -> Result<(Command, String), String> {
    let (id, known) = find(state, node)?;
    let shards = state.owned_by(id).count();
    let done = match wanted {
        true if shards == 0 => format!("{} owns no shard, and is given none", known.name),
        true if !state.nodes().iter().any(|(other, it)| *other != id && it.takes_shards()) => {
            format!(
                "{} is drained, and keeps its {shards} shards for now: no other node takes any; they go to the next one \
                 that is started or undrained",
                known.name
            )
        }
        true => format!("{}'s {shards} shards are being handed to the others", known.name),
        false => format!("{} takes its part again", known.name),
    };
    Ok((Command::DrainNode { node: id, wanted }, done))
}

fn hand_off(state: &State, shard: ShardId, to: &str) -> Result<(Command, String), String> {
    let (to, known) = find(state, to)?;
    let held = state.shards().get(&shard).ok_or_else(|| {
        format!(
            "there is no shard {shard}: they are numbered from 0 to {}",
            state.shards().len().saturating_sub(1)
        )
    })?;
    let name = &known.name;
    if held.is_owned_by(to) {
        return Err(format!("shard {shard} is {name}'s already"));
    }
    if !known.takes_shards() {
        return Err(format!("{name} takes no shards: it is lost or drained"));
    }
    let from = held.epoch();
    if from.is_none() {
        return Err(format!("nobody owns shard {shard} at present; the leader gives it an owner"));
    }
    let done = format!("shard {shard} is being handed to {name}");
    Ok((Command::HandOff(vec![Move { shard, from, to }]), done))
}

async fn transfer_leader(
    state: &State,
    wishes: &Wishes,
    to: Option<String>,
) -> Result<Changed, String> {
    let to = to.map(|to| find(state, &to)).transpose()?;
    let wish = Wish::TransferLeader { to: to.map(|(id, _)| id) };
    match (wishes.ask(wish).await, to) {
        (Ok(Fulfilled::Leads(leader)), _) => {
            let name = name_of(state, leader);
            Ok(Changed { done: format!("{name} leads; every shard stays where it is") })
        }
        (Ok(other), _) => Err(format!("the leader answered {other:?}; use one version of apolo")),
        (Err(WishError::Refused(refusal)), Some((_, known))) => {
            Err(format!("{} does not take the leadership: {refusal}", known.name))
        }
        (Err(error), _) => Err(error.to_string()),
    }
}

async fn remove(
    raft: &Handle,
    state: &State,
    wishes: &Wishes,
    node: &str,
) -> Result<Changed, String> {
    // One that was lost before it had ever been started in full has an id and no name.
    let nameless = raft.members().borrow().all().find(|member| member.to_string() == node);
    let id = match (find_first(state, node, Presence::Lost), nameless) {
        (Ok((id, _)), _) | (Err(_), Some(id)) => id,
        (Err(unknown), None) => return Err(unknown),
    };
    let name = name_of(state, id);
    match wishes.ask(Wish::Remove(id)).await {
        Ok(_) => Ok(Changed {
            done: format!(
                "{name} is removed for good; if it comes back, it says that its data directory must be emptied"
            ),
        }),
        Err(WishError::Refused(refusal)) => Err(format!("{name} is not removed: {refusal}")),
        Err(error) => Err(error.to_string()),
    }
}

fn name_of(state: &State, id: NodeId) -> String {
    state.nodes().get(&id).map_or_else(|| id.to_string(), |node| node.name.clone())
}

/// The node of that name, or of that id. Of two with one name the living one is meant.
fn find<'a>(state: &'a State, wanted: &str) -> Result<(NodeId, &'a Node), String> {
    find_first(state, wanted, Presence::Present)
}

/// Of two with one name the one with this presence is meant.
fn find_first<'a>(
    state: &'a State,
    wanted: &str,
    presence: Presence,
) -> Result<(NodeId, &'a Node), String> {
    state.node_called(wanted, presence).ok_or_else(|| {
        let names: Vec<_> = state.nodes().values().map(|node| node.name.as_str()).collect();
        format!("there is no node {wanted:?}; there are {}", names.join(", "))
    })
}
