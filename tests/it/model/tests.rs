//! The protocol holds, and each of its rules is needed.

use super::{
    Rule,
    log::{Checkpoint, Word},
    machine::Action,
    network::Message,
    properties::{NO_STEP_BACK, NOTHING_SKIPPED, ONE_DELIVERS, OWNED_AGAIN},
    scenario::{Bounds, Scenario},
    time::Timing,
};

/// Leases, losses and a change of the leader. Renewals are granted and taken in one step: a later grant gives no longer
/// lease.
const LEASES: Scenario = Scenario {
    timing: Timing::TIGHT,
    bounds: Bounds { terms: 2, entries: 4, settle: true, ..Bounds::NONE },
    before: &[],
    steps: None,
};

/// Renewals and grants are late, lost and out of order.
const SLOW_RENEWALS: Scenario = Scenario {
    bounds: Bounds {
        terms: 2,
        entries: 3,
        messages: 2,
        slow_renewals: true,
        slow_grants: true,
        settle: true,
        ..Bounds::NONE
    },
    steps: Some(9),
    ..LEASES
};

/// A leader's rounds are acknowledged late.
const SLOW_ROUNDS: Scenario = Scenario {
    bounds: Bounds { terms: 2, entries: 3, slow_rounds: true, settle: true, ..Bounds::NONE },
    steps: Some(11),
    ..LEASES
};

const GRANT: Message = Message::Grant { node: 1, boot: 1, index: 1, age: 0 };

/// The second leader had a lease at its election and another one on its way, and is replaced.
const REELECTION: Scenario = Scenario {
    // A lease must last longer than two elections and the wait for a dead leader, as the real one does.
    timing: Timing { ttl: 4, ..Timing::TIGHT },
    bounds: Bounds {
        terms: 3,
        entries: 4,
        messages: 1,
        slow_grants: true,
        settle: true,
        ..Bounds::NONE
    },
    before: &[
        Action::Renew { node: 1, leader: 0 },
        Action::Deliver { message: GRANT, at: 1 },
        Action::Renew { node: 1, leader: 0 },
        Action::Tick,
        Action::Elect { candidate: 1, voter: 2, adopt: None },
        Action::Establish { leader: 1, voter: 0 },
        Action::Apply { node: 0 },
        Action::Apply { node: 1 },
        Action::Apply { node: 2 },
    ],
    steps: Some(10),
};

/// The leader has decided on a loss, which it has not proposed when another takes its place.
const SLOW_LOSSES: Scenario = Scenario {
    bounds: Bounds { terms: 3, entries: 5, slow_losses: true, settle: true, ..Bounds::NONE },
    before: &[
        Action::Tick,
        Action::Tick,
        Action::Tick,
        Action::Lose { leader: 0, node: 1, to: 0 },
        Action::Elect { candidate: 1, voter: 0, adopt: None },
    ],
    steps: Some(10),
    ..LEASES
};

/// A process restarts.
const RESTARTS: Scenario = Scenario {
    bounds: Bounds { terms: 2, entries: 3, restarts: 1, settle: true, ..Bounds::NONE },
    steps: Some(10),
    ..LEASES
};

/// A silent node starts again.
const STARTS: Scenario = Scenario {
    bounds: Bounds { terms: 1, entries: 4, ..RESTARTS.bounds },
    before: &[Action::Restart { node: 1 }, Action::Tick, Action::Tick, Action::Tick],
    steps: Some(9),
    ..LEASES
};

/// A shard is handed over, and its old or new owner restarts.
const HANDOFFS: Scenario = Scenario {
    bounds: Bounds {
        entries: 4,
        messages: 1,
        restarts: 1,
        handoffs: 1,
        still: true,
        settle: true,
        ..Bounds::NONE
    },
    before: &[Action::Renew { node: 1, leader: 0 }, Action::Renew { node: 2, leader: 0 }],
    steps: Some(10),
    ..LEASES
};

const SHARD_0: Word = Word {
    node: 0,
    shard: 0,
    epoch: 1,
    checkpoint: Checkpoint { session: 1, sequence: 0 },
    session: 1,
};

/// The leader hands its shard off to node 1, and then `more` happens.
macro_rules! handed_off {
    ($($more:expr),*) => {
        &[
            Action::HandOff { node: 0, shard: 0 },
            Action::Deliver { message: Message::Release(SHARD_0), at: 1 },
            Action::Drop { message: Message::Release(SHARD_0) },
            Action::Commit { leader: 0, voter: 1 },
            Action::Apply { node: 0 },
            Action::Apply { node: 1 },
            Action::Apply { node: 2 },
            $($more),*
        ]
    };
}

/// A leader that owns nothing asks for a transfer.
const TRANSFERS: Scenario = Scenario {
    bounds: Bounds {
        terms: 2,
        entries: 4,
        messages: 1,
        handoffs: 1,
        transfers: 1,
        settle: true,
        ..Bounds::NONE
    },
    before: handed_off!(),
    steps: Some(10),
    ..LEASES
};

/// The same, while a move to the leader is on its way.
const TRANSFERS_MEANWHILE: Scenario = Scenario {
    bounds: Bounds { entries: 5, ..TRANSFERS.bounds },
    before: handed_off!(
        Action::Tick,
        Action::Tick,
        Action::Tick,
        Action::Lose { leader: 0, node: 1, to: 0 }
    ),
    steps: Some(11),
    ..TRANSFERS
};

/// A transfer that was taken at once, which the old leader does not know. Its last round is not old yet.
const TRANSFERRED: Scenario = Scenario {
    timing: Timing::WIDE,
    before: handed_off!(
        Action::AskTransfer { leader: 0, to: 2 },
        Action::Deliver { message: Message::Transfer { to: 2, term: 1 }, at: 1 }
    ),
    steps: Some(11),
    ..TRANSFERS
};

/// A leader that may own something asks for a transfer.
const RASH_TRANSFERS: Scenario = Scenario {
    bounds: Bounds { entries: 3, handoffs: 0, ..TRANSFERS.bounds },
    before: &[],
    ..TRANSFERS
};

/// A leader that owns something has yielded and asks for a transfer, which may be taken at once.
const YIELDED: Scenario = Scenario {
    bounds: Bounds { entries: 5, ..RASH_TRANSFERS.bounds },
    before: &[
        Action::Yield { leader: 0 },
        Action::Commit { leader: 0, voter: 1 },
        Action::Apply { node: 0 },
        Action::Apply { node: 1 },
        Action::Apply { node: 2 },
        Action::AskTransfer { leader: 0, to: 2 },
    ],
    steps: Some(11),
    ..TRANSFERS
};

/// Events, sessions and checkpoints, over restarts and handoffs.
const EVENTS: Scenario = Scenario {
    bounds: Bounds {
        entries: 4,
        messages: 2,
        restarts: 1,
        handoffs: 1,
        still: true,
        events: 2,
        drops: 1,
        ..Bounds::NONE
    },
    before: &[
        Action::Renew { node: 1, leader: 0 },
        Action::Renew { node: 2, leader: 0 },
        Action::Connect { node: 1, shard: 1 },
        Action::Receive { node: 1, shard: 1 },
        Action::Receive { node: 1, shard: 1 },
    ],
    steps: Some(10),
    ..LEASES
};

mod holds {
    use super::*;

    #[test]
    fn over_losses_and_a_change_of_the_leader() {
        LEASES.holds();
    }

    #[test]
    fn with_late_renewals() {
        SLOW_RENEWALS.holds();
    }

    #[test]
    fn with_late_acknowledgements() {
        SLOW_ROUNDS.holds();
    }

    #[test]
    fn over_two_changes_of_the_leader() {
        REELECTION.holds();
    }

    #[test]
    fn with_a_loss_decided_in_an_earlier_term() {
        SLOW_LOSSES.holds();
    }

    #[test]
    fn over_restarts() {
        RESTARTS.holds();
        STARTS.holds();
    }

    #[test]
    fn over_handoffs() {
        HANDOFFS.holds();
    }

    #[test]
    fn over_transfers() {
        TRANSFERS.holds();
        TRANSFERS_MEANWHILE.holds();
        TRANSFERRED.holds();
        RASH_TRANSFERS.holds();
        YIELDED.holds();
    }

    #[test]
    fn for_every_event_and_checkpoint() {
        EVENTS.holds();
    }

    #[test]
    #[ignore = "takes minutes, and gigabytes: run it with --release"]
    fn in_wider_bounds() {
        let bounds = Bounds { terms: 3, ..LEASES.bounds };
        Scenario { bounds, ..LEASES }.holds();
        let bounds = Bounds { terms: 3, entries: 4, ..RESTARTS.bounds };
        Scenario { bounds, steps: Some(12), ..RESTARTS }.holds();
        Scenario { steps: Some(12), ..SLOW_RENEWALS }.holds();
        Scenario { steps: Some(14), ..REELECTION }.holds();
        Scenario { steps: Some(14), ..SLOW_LOSSES }.holds();
        Scenario { steps: None, ..HANDOFFS }.holds();
        Scenario { steps: None, ..TRANSFERS_MEANWHILE }.holds();
        Scenario { steps: None, ..TRANSFERRED }.holds();
        Scenario { steps: Some(14), ..YIELDED }.holds();
        Scenario { steps: Some(15), ..EVENTS }.holds();
    }
}

mod needs {
    use super::*;

    #[test]
    fn a_lease_to_wait_for_its_index() {
        LEASES.needs(Rule::LeaseWaitsForItsIndex, ONE_DELIVERS);
    }

    #[test]
    fn a_leader_to_grant_nothing_before_its_first_entry() {
        LEASES.needs(Rule::NoGrantBeforeFirstEntry, ONE_DELIVERS);
    }

    #[test]
    fn a_leader_to_grant_nothing_to_a_node_it_declares_lost() {
        LEASES.needs(Rule::NoGrantToTheLosing, ONE_DELIVERS);
    }

    #[test]
    fn a_loss_to_be_proposed_in_the_term_of_the_silence() {
        SLOW_LOSSES.needs(Rule::LossOfItsTerm, ONE_DELIVERS);
    }

    #[test]
    fn a_renewal_to_count_from_the_send() {
        SLOW_RENEWALS.needs(Rule::RenewalCountsFromSend, ONE_DELIVERS);
    }

    #[test]
    fn a_leader_to_hold_no_node_lease() {
        REELECTION.needs(Rule::LeaderHoldsNoNodeLease, ONE_DELIVERS);
    }

    #[test]
    fn a_leaders_right_to_count_from_the_send() {
        SLOW_ROUNDS.needs(Rule::LeaderCountsFromSend, ONE_DELIVERS);
    }

    #[test]
    fn a_leaders_right_to_end() {
        LEASES.needs(Rule::LeaderRightEnds, ONE_DELIVERS);
    }

    #[test]
    fn a_leader_to_renew_others_only_briefly() {
        LEASES.needs(Rule::RenewsOthersBriefly, ONE_DELIVERS);
    }

    #[test]
    fn a_leader_to_grant_nothing_after_asking_for_a_transfer() {
        TRANSFERRED.needs(Rule::NoGrantAfterTransfer, ONE_DELIVERS);
    }

    #[test]
    fn a_leader_that_owns_shards_to_yield_before_a_transfer() {
        RASH_TRANSFERS.needs(Rule::YieldsBeforeTransfer, ONE_DELIVERS);
    }

    #[test]
    fn a_restarted_voter_to_wait() {
        RESTARTS.needs(Rule::RestartedVoterWaits, ONE_DELIVERS);
    }

    #[test]
    fn a_new_leader_to_wait_for_the_dead_one() {
        LEASES.needs(Rule::DeadLeaderIsWaitedFor, ONE_DELIVERS);
    }

    #[test]
    fn a_new_leader_to_wait_longer_for_others() {
        LEASES.needs(Rule::OthersAreWaitedFor, ONE_DELIVERS);
    }

    #[test]
    fn a_higher_boot_epoch_to_free_a_lease() {
        RESTARTS.needs(Rule::HigherBootFreesLease, ONE_DELIVERS);
    }

    #[test]
    fn a_leader_to_own_nothing_before_its_first_entry() {
        LEASES.needs(Rule::LeaderOwnsFromFirstEntry, ONE_DELIVERS);
    }

    #[test]
    fn nothing_in_flight_when_a_transfer_is_asked_for() {
        TRANSFERS_MEANWHILE.needs(Rule::NothingInFlightAtTransfer, ONE_DELIVERS);
    }

    #[test]
    fn leading_to_void_earlier_renewals() {
        REELECTION.needs(Rule::LeadingVoidsOldRenewals, ONE_DELIVERS);
    }

    #[test]
    fn a_grant_to_name_the_committed_boot_epoch() {
        RESTARTS.needs(Rule::GrantNamesCommittedBoot, ONE_DELIVERS);
    }

    #[test]
    fn a_start_to_raise_the_epoch() {
        HANDOFFS.needs(Rule::StartRaisesEpoch, ONE_DELIVERS);
    }

    #[test]
    fn one_taking_of_a_nodes_shards_at_a_time() {
        STARTS.needs(Rule::OneTakingAtATime, ONE_DELIVERS);
    }

    #[test]
    fn a_transfer_to_be_asked_for_again() {
        TRANSFERS.needs(Rule::TransferIsAskedAgain, OWNED_AGAIN);
    }

    #[test]
    fn a_release_to_name_its_epoch() {
        HANDOFFS.needs(Rule::ReleaseNamesItsEpoch, ONE_DELIVERS);
    }

    #[test]
    fn an_owner_to_stop_before_it_releases() {
        HANDOFFS.needs(Rule::StopsBeforeRelease, ONE_DELIVERS);
    }

    #[test]
    fn handlers_to_finish_before_the_release() {
        EVENTS.needs(Rule::HandlersFinishBeforeRelease, NOTHING_SKIPPED);
    }

    #[test]
    fn checkpoints_to_grow() {
        EVENTS.needs(Rule::CheckpointsOnlyGrow, NO_STEP_BACK);
    }

    #[test]
    fn checkpoints_to_be_contiguous() {
        EVENTS.needs(Rule::CheckpointIsContiguous, NOTHING_SKIPPED);
    }

    #[test]
    fn a_session_to_be_committed_before_its_events() {
        EVENTS.needs(Rule::SessionBeforeItsEvents, NOTHING_SKIPPED);
    }

    #[test]
    fn a_leaders_right_to_end_before_its_successor_takes_over() {
        // One tick more than the two waits of its successor leave.
        let timing = Timing { leader_owns: 3, ..Timing::TIGHT };
        Scenario { timing, ..LEASES }.breaks(ONE_DELIVERS);
    }
}
