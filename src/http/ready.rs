//! Whether a node is ready: pure, from its [`View`].

use serde::{Deserialize, Serialize};

use crate::model::ShardStatus;

use super::{ConsumerGroup, Consumers, Phase, ShardRow, View, notes::notes, view::STALL_TOLD};

/// The body of `/ready`: 200 where every condition holds, 503 otherwise.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Readiness {
    /// Every condition holds.
    pub ready: bool,
    /// Each condition, whether it holds, and what that says.
    pub conditions: Vec<Condition>,
    /// What an operator should know and does not make the node unready.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// One thing that must hold.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Condition {
    /// Its name, for alerts.
    pub name: String,
    /// Whether it holds.
    pub holds: bool,
    /// Why it holds or doesn't.
    pub detail: String,
}

/// A list of shards is cut after this many; the table has them all.
const SHARDS_NAMED_MAX: usize = 20;

/// What to do where too few voters reach each other.
const NO_QUORUM: &str = "fewer voters than a quorum reach each other, so no shard runs; start the others, or, \
     if they are gone for good, see `apolo recover --help`";

/// Judges a node: its leader, its store, its draining, the halt, and each of its own shards.
///
/// A shard that was connected and is getting its connection back doesn't count against it: Discord asks every shard
/// to reconnect now and then. One that never was, is parked, halted or dead does: a process that runs without its
/// shards must not look well. But where most shards of the other nodes are not connected either, one that is dead, or was
/// taken over and is to resume here, is not this node's fault, and to take all nodes out of service would only hide what
/// they say of it.
#[must_use]
pub fn readiness(view: &View) -> Readiness {
    let mut conditions = vec![
        condition("member", view.waiting.is_none(), || match &view.waiting {
            Some(waiting) => format!("not begun yet: {waiting}"),
            None => "is a member of its cluster".to_owned(),
        }),
        condition("lease", view.lease, || {
            match (view.lease, &view.leader) {
                (true, _) => "may run shards".to_owned(),
                // It has not asked for it.
                (false, Some(_)) if view.waiting.is_some() => {
                    "has no right to run shards yet".to_owned()
                }
                (false, None) => "has no right to run shards".to_owned(),
                // The last leader is known for as long as there is no other.
                (false, Some(leader)) => format!(
                    "has no right to run shards: {leader} does not renew its lease. If that lasts, {NO_QUORUM}"
                ),
            }
        }),
        condition("leader", view.leader.is_some(), || match &view.leader {
            Some(name) => format!("{name} leads"),
            // What a node waits for that has not begun is said above: it may never have been a member.
            None if view.waiting.is_some() => "no leader is known".to_owned(),
            None => format!("no leader is known: {NO_QUORUM}"),
        }),
        condition(
            "store",
            view.store_failure.is_none() && view.stall(STALL_TOLD).is_none(),
            || {
                let fault = view.store_failure.clone().or_else(|| view.stall(STALL_TOLD));
                fault.unwrap_or_else(|| "takes writes".to_owned())
            },
        ),
        condition("draining", !view.draining, || {
            let words = if view.draining { "hands its shards off and will stop" } else { "runs" };
            words.to_owned()
        }),
        condition("halt", view.halted.is_none(), || match &view.halted {
            Some(halt) => {
                format!("shard {} was closed with {}. {}", halt.shard, halt.code, halt.advice)
            }
            None => "identifies are not halted".to_owned(),
        }),
        shards(view),
    ];
    conditions.extend(view.consumers.as_ref().map(consumers));
    let ready = conditions.iter().all(|condition| condition.holds);
    Readiness { ready, conditions, notes: notes(view) }
}

/// Whether somebody is there for every group that events wait for.
fn consumers(consumers: &Consumers) -> Condition {
    let missing = |group: &&ConsumerGroup| group.required && group.consumers == 0;
    let missing: Vec<_> = consumers.groups.iter().filter(missing).collect();
    condition("consumers", missing.is_empty(), || {
        if missing.is_empty() {
            let counts: Vec<_> = consumers
                .groups
                .iter()
                .map(|group| format!("{}: {} connected", group.name, group.consumers))
                .collect();
            let none = "events wait for nobody, and nobody is connected".to_owned();
            return if counts.is_empty() { none } else { counts.join(", ") };
        }
        let names: Vec<_> = missing.iter().map(|group| group.name.as_str()).collect();
        let waiting: usize = missing.iter().map(|group| group.waiting).sum();
        format!(
            "no consumer of group {} is connected to {}, so events wait ({waiting} do here); start one, or let events \
             pass with --wait-for none",
            names.join(", "),
            consumers.url,
        )
    })
}

/// Whether Discord is out of reach for the other nodes too, by most of the shards that they own: then no node is to blame.
fn is_out_for_all(view: &View) -> bool {
    let others = || view.shards.iter().filter(|row| !row.here && row.node.is_some());
    let ready = others().filter(|row| row.status == ShardStatus::Ready).count();
    let owned = others().count();
    owned > 0 && ready * 2 < owned
}

fn shards(view: &View) -> Condition {
    let own = || view.shards.iter().filter(|row| row.here);
    let out = is_out_for_all(view);
    let failing: Vec<String> = Trouble::ALL
        .into_iter()
        .filter_map(|trouble| {
            let counts = |row: &&ShardRow| {
                Trouble::of(row) == Some(trouble) && !(out && trouble.may_be_discords(row))
            };
            let list = list(own().filter(counts))?;
            Some(format!("{}: {list}", trouble.as_str()))
        })
        .collect();
    condition("shards", view.health.is_some() && failing.is_empty(), || {
        if view.health.is_none() {
            return "the number of shards is not known yet".to_owned();
        }
        if !failing.is_empty() {
            return failing.join("; ");
        }
        let mut words = format!("{} here", own().count());
        let excused = |row: &&ShardRow| Trouble::of(row).is_some_and(|it| it.may_be_discords(row));
        if let Some(list) = list(own().filter(excused)).filter(|_| out) {
            words.push_str(&format!(
                "; most shards of the other nodes are not connected either, so Discord or the way to it is down; \
                 without a connection: {list}"
            ));
        }
        let back = own().filter(|row| row.status == ShardStatus::Disconnected);
        if let Some(list) = list(back) {
            words.push_str(&format!("; getting their connection back: {list}"));
        }
        words
    })
}

/// Why a shard counts against its node.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Trouble {
    Halted,
    Parked,
    Dead,
    NotYet,
}

impl Trouble {
    const ALL: [Self; 4] = [Self::Halted, Self::Parked, Self::Dead, Self::NotYet];

    fn of(row: &ShardRow) -> Option<Self> {
        match row.status {
            _ if row.phase == Phase::Halted => Some(Self::Halted),
            _ if row.phase == Phase::Parked => Some(Self::Parked),
            ShardStatus::Dead => Some(Self::Dead),
            ShardStatus::Spawning => Some(Self::NotYet),
            ShardStatus::Ready | ShardStatus::Disconnected => None,
        }
    }

    /// Whether it is Discord's where Discord is down: a shard that has no session was never connected anywhere.
    const fn may_be_discords(self, row: &ShardRow) -> bool {
        match self {
            Self::Dead => true,
            Self::NotYet => row.session.is_some(),
            Self::Halted | Self::Parked => false,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Halted => "halted",
            Self::Parked => "parked",
            Self::Dead => "dead",
            Self::NotYet => "not connected yet",
        }
    }
}

pub(super) fn list<'a>(rows: impl Iterator<Item = &'a ShardRow>) -> Option<String> {
    let rows: Vec<_> = rows.map(|row| row.shard.to_string()).collect();
    let named = rows.get(..SHARDS_NAMED_MAX.min(rows.len()))?.join(", ");
    match rows.len() {
        0 => None,
        1..=SHARDS_NAMED_MAX => Some(named),
        all => Some(format!("{named} and {} more", all - SHARDS_NAMED_MAX)),
    }
}

fn condition(name: &str, holds: bool, detail: impl FnOnce() -> String) -> Condition {
    Condition { name: name.to_owned(), holds, detail: detail() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{
        Excess, Halt, Target,
        view::{STALL_MAX, tests::view},
    };
    use crate::model::{SessionNumber, ShardId};

    fn failing(view: &View) -> Vec<String> {
        let readiness = readiness(view);
        let failing: Vec<_> =
            readiness.conditions.into_iter().filter(|condition| !condition.holds).collect();
        assert_eq!(readiness.ready, failing.is_empty());
        failing
            .into_iter()
            .map(|condition| format!("{}: {}", condition.name, condition.detail))
            .collect()
    }

    #[test]
    fn a_node_whose_shards_are_connected_is_ready() {
        assert_eq!(failing(&view(3)), Vec::<String>::new());
    }

    #[test]
    fn without_discord_a_node_is_alive_and_says_what_its_shards_do() {
        let mut view = view(3);
        for row in &mut view.shards {
            (row.status, row.phase) = (ShardStatus::Disconnected, Phase::BackingOff);
        }
        assert_eq!(failing(&view), Vec::<String>::new(), "they are getting it back");

        // After SHARD_TIMEOUT.
        view.shards.iter_mut().for_each(|row| row.status = ShardStatus::Dead);
        assert_eq!(failing(&view), ["shards: dead: 0, 1, 2"]);
        assert_eq!(view.stall(STALL_MAX), None, "and is not started again for it");
    }

    #[test]
    fn where_the_other_nodes_have_lost_discord_as_well_none_is_taken_out_of_service_for_it() {
        let mut view = view(6);
        for (nth, row) in view.shards.iter_mut().enumerate() {
            let node = if nth < 2 { "apolo-0" } else { "apolo-1" };
            (row.status, row.here, row.node) = (ShardStatus::Dead, nth < 2, Some(node.to_owned()));
        }
        assert_eq!(failing(&view), Vec::<String>::new());
        let said = &readiness(&view).conditions.pop().unwrap().detail;
        assert!(said.contains("way to it is down; without a connection: 0, 1"), "{said}");

        // One that was taken over meanwhile is to resume here; one without a session was never connected anywhere.
        view.shards[1].status = ShardStatus::Spawning;
        assert_eq!(failing(&view), Vec::<String>::new());
        view.shards[1].session = None;
        assert_eq!(failing(&view), ["shards: not connected yet: 1"]);
        (view.shards[1].status, view.shards[1].session) =
            (ShardStatus::Dead, Some(SessionNumber(1)));

        // One that comes back first is no proof against the rest.
        view.shards[2].status = ShardStatus::Ready;
        assert_eq!(failing(&view), Vec::<String>::new());
        view.shards[3].status = ShardStatus::Ready;
        assert_eq!(failing(&view), ["shards: dead: 0, 1"], "it is this node's way to Discord");

        // Who owns nothing, or only what was never connected, can't tell.
        view.shards.truncate(2);
        assert_eq!(failing(&view), ["shards: dead: 0, 1"]);
        view.shards[0].status = ShardStatus::Spawning;
        assert_eq!(failing(&view), ["shards: dead: 1; not connected yet: 0"]);
    }

    #[test]
    fn who_runs_more_shards_than_it_should_is_noted_and_ready_all_the_same() {
        let mut view = view(3);
        let over = vec![Excess { node: "apolo-0".to_owned(), shards: 3 }];
        view.target = Some(Target { shards_per_node: 2, over });

        let readiness = readiness(&view);

        assert!(readiness.ready);
        let [note] = &readiness.notes[..] else { panic!("{readiness:?}") };
        assert!(note.starts_with("apolo-0 runs 3 shards, and SHARDS_PER_POD says 2"), "{note}");
    }

    #[test]
    fn a_node_whose_events_wait_for_nobody_in_sight_is_not_ready() {
        let group = |name: &str, consumers, oldest_ms| ConsumerGroup {
            name: name.to_owned(),
            required: name == "bot",
            consumers,
            waiting: 7,
            unacknowledged: 0,
            oldest_ms,
        };
        let mut view = view(3);
        let url = "ws://127.0.0.1:3001/bot/v1".to_owned();
        view.consumers = Some(Consumers { url, groups: vec![group("bot", 0, None)] });
        let [why] = &failing(&view)[..] else { panic!("one condition fails") };
        assert!(
            why.starts_with("consumers: no consumer of group bot is connected to ws://"),
            "{why}"
        );

        let groups = vec![group("bot", 1, Some(61_000)), group("audit", 0, None)];
        view.consumers.as_mut().expect("it is there").groups = groups;

        assert_eq!(failing(&view), Vec::<String>::new());
        let notes = readiness(&view).notes;
        assert!(notes.iter().any(|note| note.contains("has had an event for 61 s")), "{notes:?}");
    }

    #[test]
    fn only_a_member_is_told_of_a_quorum_that_is_lost() {
        let mut empty = view(0);
        (empty.waiting, empty.leader) = (Some("looking for peers".to_owned()), None);
        let mut member = view(1);
        member.leader = None;
        let mut alone = view(1);
        alone.lease = false;
        let hints = |view| failing(view).iter().filter(|it| it.contains("apolo recover")).count();

        assert_eq!([hints(&empty), hints(&member), hints(&alone)], [0, 1, 1]);
    }

    #[test]
    fn a_node_without_shards_is_ready_once_the_total_is_known() {
        let mut view = view(2);
        view.shards.iter_mut().for_each(|row| row.here = false);
        view.shards[0].status = ShardStatus::Dead;

        assert_eq!(failing(&view), Vec::<String>::new());
    }

    #[test]
    fn each_condition_fails_by_itself_and_says_why() {
        let mut leaderless = view(1);
        leaderless.leader = None;
        let mut broken = view(1);
        broken.store_failure = Some("no space left on device".to_owned());
        let mut hung = view(1);
        hung.write_under_way_ms = Some(2_400);
        let mut still = view(1);
        still.silent_ms = 3_000;
        let mut draining = view(1);
        draining.draining = true;
        let mut halted = view(1);
        let advice = "Put the token right.".to_owned();
        halted.halted = Some(Halt { code: 4004, shard: ShardId(0), advice });
        let mut early = view(0);
        early.health = None;

        assert_eq!(failing(&leaderless).len(), 1);
        assert_eq!(failing(&broken), ["store: no space left on device"]);
        assert_eq!(failing(&hung), ["store: the disk has not answered a write for 2 s"]);
        assert_eq!(failing(&still), ["store: the loops of this node have stood still for 3 s"]);
        assert_eq!(still.stall(STALL_MAX), None, "/health is told later");
        assert_eq!(failing(&draining), ["draining: hands its shards off and will stop"]);
        assert_eq!(failing(&halted), ["halt: shard 0 was closed with 4004. Put the token right."]);
        assert_eq!(failing(&early), ["shards: the number of shards is not known yet"]);
    }

    #[test]
    fn shards_that_need_help_are_named_once_each() {
        let mut view = view(4);
        view.shards[0].phase = Phase::Halted;
        view.shards[0].status = ShardStatus::Dead;
        view.shards[1].phase = Phase::Parked;
        view.shards[2].status = ShardStatus::Dead;
        view.shards[3].status = ShardStatus::Spawning;

        assert_eq!(failing(&view), ["shards: halted: 0; parked: 1; dead: 2; not connected yet: 3"]);
    }

    #[test]
    fn a_shard_that_gets_its_connection_back_is_named_but_no_fault() {
        let mut view = view(2);
        view.shards[1].status = ShardStatus::Disconnected;

        let readiness = readiness(&view);

        assert!(readiness.ready);
        assert_eq!(
            readiness.conditions.last().unwrap().detail,
            "2 here; getting their connection back: 1"
        );
    }

    #[test]
    fn a_long_list_is_cut() {
        let mut view = view(448);
        view.shards.iter_mut().for_each(|row| row.phase = Phase::Parked);

        assert!(failing(&view)[0].ends_with("18, 19 and 428 more"), "{:?}", failing(&view));
    }
}
