//! What must hold in every state.

use stateright::Property;

use super::machine::{Protocol, State, nodes, shards};

pub(super) const ONE_DELIVERS: &str = "no two nodes deliver for one shard at once";
pub(super) const NO_STEP_BACK: &str = "no older checkpoint wins";
pub(super) const NOTHING_SKIPPED: &str = "no unhandled event is skipped";
pub(super) const NEXT_OWNER: &str = "a shard's next owner delivers";
pub(super) const OWNED_AGAIN: &str = "every shard is owned again";

/// Those that the checker looks for a violation of.
pub(super) const FORBIDDING: [&str; 4] = [ONE_DELIVERS, NO_STEP_BACK, NOTHING_SKIPPED, OWNED_AGAIN];

pub(super) fn all(model: &Protocol) -> Vec<Property<Protocol>> {
    let mut all = vec![
        Property::always(ONE_DELIVERS, one_delivers),
        // Else the others would hold for want of anything that happens.
        Property::sometimes(NEXT_OWNER, next_owner_delivers),
    ];
    if model.bounds.events > 0 {
        all.push(Property::always(NO_STEP_BACK, no_step_back));
        all.push(Property::always(NOTHING_SKIPPED, nothing_skipped));
    }
    if model.bounds.settle {
        all.push(Property::always(OWNED_AGAIN, State::settles));
    }
    all
}

fn one_delivers(model: &Protocol, state: &State) -> bool {
    shards().all(|shard| {
        let delivering =
            nodes().filter(|id| state.nodes[*id as usize].delivers(*id, shard, model)).count();
        delivering <= 1
    })
}

fn next_owner_delivers(model: &Protocol, state: &State) -> bool {
    shards().any(|shard| {
        nodes().any(|id| {
            let node = &state.nodes[id as usize];
            let first = model.formed().base.shards[shard as usize].owner;
            id != first && node.delivers(id, shard, model)
        })
    })
}

fn no_step_back(model: &Protocol, state: &State) -> bool {
    !state.committed(model.rules).went_back
}

fn nothing_skipped(_: &Protocol, state: &State) -> bool {
    state.discord.iter().all(|discord| !discord.skipped)
}
