//! Who gets an event, and who has it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use proptest::prelude::*;
use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{
    group::Group,
    members::Wanted,
    offer::{Offer, Parcel, Settled},
    pool::{ConsumerId, GROUPS_MAX, NotJoined, Pool},
};
use crate::bot::Event;
use crate::gateway::EventName;
use crate::lease::Fence;
use crate::model::{Epoch, Sequence, SessionNumber, ShardId};

fn now() -> Instant {
    Instant::now()
}

fn group(name: &str) -> Group {
    Group::new(name).expect("a name")
}

fn pool(required: &[&str]) -> Pool {
    Pool::new(required.iter().map(|name| group(name)).collect(), 0)
}

fn parcel(shard: u32, name: &str) -> Parcel {
    Parcel {
        event: Event::undecoded(EventName::new(name), Arc::new(String::new())),
        shard: ShardId(shard),
        session: SessionNumber(1),
        sequence: Sequence(1),
        epoch: Epoch::default(),
        redelivered: false,
        fence: Fence::default(),
        stopping: CancellationToken::new(),
        over: CancellationToken::new(),
    }
}

/// An event, and what becomes of it.
struct Given {
    offer: Arc<Offer>,
    settled: oneshot::Receiver<Settled>,
}

impl Given {
    fn number(&self) -> u64 {
        self.offer.number
    }

    fn settled(&mut self) -> Option<Settled> {
        self.settled.try_recv().ok()
    }
}

fn give(pool: &mut Pool, shard: u32) -> Given {
    let (offer, settled) = pool.offer(parcel(shard, "MESSAGE_CREATE")).expect("somebody wants it");
    Given { offer, settled }
}

fn join(pool: &mut Pool, id: u64, name: &str) -> ConsumerId {
    join_with(pool, id, name, Wanted::All, 100)
}

fn join_with(pool: &mut Pool, id: u64, name: &str, wanted: Wanted, window: usize) -> ConsumerId {
    let id = ConsumerId(id);
    pool.join(id, (group(name), wanted, window), Arc::new(Notify::new())).expect("there is room");
    id
}

/// The numbers of all that is sent to a consumer now, and whether each was sent before.
fn taken(pool: &mut Pool, id: ConsumerId) -> Vec<(u64, bool)> {
    std::iter::from_fn(|| pool.take(id, now()))
        .map(|handed| (handed.offer.number, handed.again))
        .collect()
}

#[test]
fn without_a_group_to_wait_for_events_pass() {
    let mut pool = pool(&[]);

    assert!(pool.offer(parcel(0, "MESSAGE_CREATE")).is_none());
}

#[test]
fn an_event_waits_for_a_required_group_and_is_handled_once_it_is_acknowledged() {
    let mut pool = pool(&["bot"]);
    let mut event = give(&mut pool, 0);

    let bot = join(&mut pool, 1, "bot");

    assert_eq!(taken(&mut pool, bot), [(event.number(), false)]);
    assert_eq!(event.settled(), None);
    assert!(pool.acknowledge(bot, event.number(), None));
    assert_eq!(event.settled(), Some(Settled::Handled(Ok(()))));
    assert!(!pool.acknowledge(bot, event.number(), None), "once is enough");
}

#[test]
fn every_group_gets_an_event_and_one_consumer_of_each() {
    let mut pool = pool(&["bot"]);
    let (one, two) = (join(&mut pool, 1, "bot"), join(&mut pool, 2, "bot"));
    let audit = join(&mut pool, 3, "audit");

    let mut event = give(&mut pool, 0);

    let bots = [taken(&mut pool, one), taken(&mut pool, two)].concat();
    assert_eq!(bots, [(event.number(), false)]);
    assert_eq!(taken(&mut pool, audit), [(event.number(), false)]);
    let had = |pool: &mut Pool, id| pool.acknowledge(id, event.offer.number, None);
    assert!(had(&mut pool, one) ^ had(&mut pool, two));
    assert_eq!(event.settled.try_recv(), Err(oneshot::error::TryRecvError::Empty));
    assert!(pool.acknowledge(audit, event.number(), Some("full")));
    assert_eq!(event.settled(), Some(Settled::Handled(Err("full".to_owned()))));
}

#[test]
fn shards_are_spread_evenly_and_each_stays_with_its_consumer() {
    let mut pool = pool(&["bot"]);
    let (one, two) = (join(&mut pool, 1, "bot"), join(&mut pool, 2, "bot"));
    let mut whose = BTreeMap::new();
    for shard in [0, 2, 4, 6, 0, 2, 4, 6] {
        give(&mut pool, shard);
        for id in [one, two] {
            for _ in taken(&mut pool, id) {
                assert_eq!(*whose.entry(shard).or_insert(id), id, "shard {shard}");
            }
        }
    }

    assert_eq!(whose.values().filter(|id| **id == one).count(), 2);

    let three = join(&mut pool, 3, "bot");
    let four = join(&mut pool, 4, "bot");
    let counts = [one, two, three, four].map(|id| {
        let shards = [0, 2, 4, 6].map(ShardId);
        let all = BTreeSet::from([one, two, three, four]);
        shards.iter().filter(|shard| pool.holder(**shard, &all) == Some(id)).count()
    });
    assert_eq!(counts, [1; 4]);
}

#[test]
fn what_a_consumer_leaves_goes_to_the_others_in_order_and_says_so() {
    let mut pool = pool(&["bot"]);
    let one = join(&mut pool, 1, "bot");
    let events = [give(&mut pool, 0), give(&mut pool, 0), give(&mut pool, 0)];
    assert_eq!(pool.take(one, now()).map(|handed| handed.offer.number), Some(events[0].number()));

    let two = join(&mut pool, 2, "bot");
    pool.leave(one);

    let expected =
        [(events[0].number(), true), (events[1].number(), false), (events[2].number(), false)];
    assert_eq!(taken(&mut pool, two), expected);
}

#[test]
fn what_the_last_consumer_leaves_waits_in_a_required_group_and_ends_in_another() {
    let mut pool = pool(&["bot"]);
    let (bot, audit) = (join(&mut pool, 1, "bot"), join(&mut pool, 2, "audit"));
    let mut event = give(&mut pool, 0);
    assert_eq!([taken(&mut pool, bot).len(), taken(&mut pool, audit).len()], [1, 1]);

    pool.leave(audit);
    pool.leave(bot);

    assert_eq!(event.settled(), None);
    let back = join(&mut pool, 3, "bot");
    assert_eq!(taken(&mut pool, back), [(event.number(), true)]);
    assert!(pool.acknowledge(back, event.number(), None));
    assert_eq!(event.settled(), Some(Settled::Handled(Ok(()))));
}

#[test]
fn a_shard_that_stops_leaves_what_nobody_has_to_its_next_owner() {
    let mut pool = pool(&["bot"]);
    let mut waits = give(&mut pool, 0);
    waits.offer.parcel.stopping.cancel();
    pool.stop(&waits.offer);
    assert_eq!(waits.settled(), Some(Settled::Unhandled));

    let bot = join(&mut pool, 1, "bot");
    assert!(pool.withdraw(waits.number()).is_empty());
    let mut held = give(&mut pool, 0);
    assert_eq!(taken(&mut pool, bot), [(held.number(), false)]);
    held.offer.parcel.stopping.cancel();
    pool.stop(&held.offer);
    assert_eq!(held.settled(), None, "its consumer may still finish it");
    pool.leave(bot);
    assert_eq!(held.settled(), Some(Settled::Unhandled));
}

#[test]
fn what_is_withdrawn_is_forgotten_and_its_holder_named() {
    let mut pool = pool(&["bot"]);
    let bot = join(&mut pool, 1, "bot");
    let (sent, unsent) = (give(&mut pool, 0), give(&mut pool, 0));
    assert!(pool.take(bot, now()).is_some());

    assert_eq!(pool.withdraw(sent.number()), [bot]);
    assert!(pool.withdraw(unsent.number()).is_empty());

    assert!(pool.take(bot, now()).is_none());
    assert!(!pool.acknowledge(bot, sent.number(), None));
    let standing = &pool.standing(now())[&group("bot")];
    assert_eq!((standing.waiting, standing.unacknowledged), (0, 0));
}

#[test]
fn a_consumer_has_no_more_unacknowledged_than_its_window() {
    let mut pool = pool(&["bot"]);
    let bot = join_with(&mut pool, 1, "bot", Wanted::All, 2);
    let events: Vec<_> = (0..5).map(|_| give(&mut pool, 0)).collect();

    assert_eq!(taken(&mut pool, bot).len(), 2);
    assert!(pool.acknowledge(bot, events[1].number(), None));
    assert_eq!(taken(&mut pool, bot), [(events[2].number(), false)]);
}

#[test]
fn nothing_is_sent_for_a_shard_behind_its_fence() {
    let mut pool = pool(&["bot"]);
    let bot = join(&mut pool, 1, "bot");
    let event = give(&mut pool, 0);

    event.offer.parcel.fence.take_down();

    assert!(pool.take(bot, now()).is_none());
}

#[test]
fn a_type_that_no_consumer_of_a_group_wants_is_handled_without_it() {
    let mut pool = pool(&["bot"]);
    let wanted = Wanted::Named(BTreeSet::from(["MESSAGE_CREATE".into()]));
    let mut early = pool.offer(parcel(0, "TYPING_START")).expect("nobody has said yet").1;
    let bot = join_with(&mut pool, 1, "bot", wanted, 10);

    assert_eq!(early.try_recv(), Ok(Settled::Handled(Ok(()))));
    assert!(pool.offer(parcel(0, "TYPING_START")).is_none());
    give(&mut pool, 0);
    assert_eq!(taken(&mut pool, bot).len(), 1);
}

#[test]
fn a_group_speaks_with_one_voice() {
    let mut pool = pool(&["bot"]);
    let one = join(&mut pool, 1, "bot");
    let wanted = Wanted::Named(BTreeSet::from(["MESSAGE_CREATE".into()]));

    let other = (group("bot"), wanted, 1);
    let joined = pool.join(ConsumerId(2), other.clone(), Arc::new(Notify::new()));
    assert_eq!(joined, Err(NotJoined::OtherEvents));

    pool.leave(one);
    pool.join(ConsumerId(2), other, Arc::new(Notify::new())).expect("nobody else is there");
}

#[test]
fn who_subscribes_again_goes_on_with_what_it_has() {
    let mut pool = pool(&[]);
    let audit = join(&mut pool, 1, "audit");
    let (mut sent, mut unsent) = (give(&mut pool, 0), give(&mut pool, 0));
    assert!(pool.take(audit, now()).is_some());

    join(&mut pool, 1, "audit");

    assert_eq!((sent.settled(), unsent.settled()), (None, None));
    assert_eq!(taken(&mut pool, audit), [(unsent.number(), false)]);
    assert!(pool.acknowledge(audit, sent.number(), None));
    assert_eq!(sent.settled(), Some(Settled::Handled(Ok(()))));
}

#[test]
fn who_unsubscribes_finishes_what_it_has_and_the_rest_goes_to_others() {
    let mut pool = pool(&["bot"]);
    let one = join(&mut pool, 1, "bot");
    let (mut sent, unsent) = (give(&mut pool, 0), give(&mut pool, 0));
    assert!(pool.take(one, now()).is_some());
    let two = join(&mut pool, 2, "bot");

    pool.drain(one);

    assert_eq!(taken(&mut pool, two), [(unsent.number(), false)]);
    give(&mut pool, 0);
    assert_eq!((taken(&mut pool, one).len(), taken(&mut pool, two).len()), (0, 1));
    assert!(pool.acknowledge(one, sent.number(), None));
    assert_eq!(sent.settled(), Some(Settled::Handled(Ok(()))));
}

#[test]
fn groups_are_bounded() {
    let mut pool = pool(&[]);
    for nth in 0..GROUPS_MAX as u64 {
        join(&mut pool, nth, &format!("group-{nth}"));
    }

    let one_more = (group("more"), Wanted::All, 1);
    let joined = pool.join(ConsumerId(99), one_more, Arc::new(Notify::new()));
    assert_eq!(joined, Err(NotJoined::TooMany));

    pool.leave(ConsumerId(0));
    join(&mut pool, 99, "more");
}

/// Something that happens to a pool.
#[derive(Clone, Debug)]
enum Step {
    Give(u32),
    Join(u64, bool),
    Leave(u64),
    Take(u64),
    Acknowledge(u64, u64),
    Withdraw(u64),
    Stop(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..4_u32).prop_map(Step::Give),
        2 => (0..4_u64, any::<bool>()).prop_map(|(id, first)| Step::Join(id, first)),
        1 => (0..4_u64).prop_map(Step::Leave),
        4 => (0..4_u64).prop_map(Step::Take),
        4 => (0..4_u64, 1..40_u64).prop_map(|(id, number)| Step::Acknowledge(id, number)),
        1 => (1..40_u64).prop_map(Step::Withdraw),
        1 => (1..40_u64).prop_map(Step::Stop),
    ]
}

proptest! {
    /// Whatever happens, an event of the required group is handled only by an acknowledgement of one of its consumers,
    /// no two of them have it at once, and nothing is forgotten.
    #[test]
    fn an_event_is_handled_by_an_acknowledgement_and_nothing_else(steps in prop::collection::vec(step(), 0..200)) {
        let mut pool = pool(&["bot"]);
        let mut events: BTreeMap<u64, Given> = BTreeMap::new();
        let mut groups: BTreeMap<u64, bool> = BTreeMap::new();
        let mut holds: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
        let mut acknowledged = BTreeSet::new();
        for step in steps {
            match step {
                Step::Give(shard) => {
                    let event = give(&mut pool, shard);
                    events.insert(event.number(), event);
                }
                Step::Join(id, first) => {
                    join(&mut pool, id, if first { "bot" } else { "audit" });
                    if groups.insert(id, first) != Some(first) {
                        holds.remove(&id);
                    }
                }
                Step::Leave(id) => {
                    pool.leave(ConsumerId(id));
                    groups.remove(&id);
                    holds.remove(&id);
                }
                Step::Take(id) => {
                    if let Some(handed) = pool.take(ConsumerId(id), now()) {
                        let number = handed.offer.number;
                        let mates = holds.iter().filter(|(other, _)| groups.get(other) == groups.get(&id));
                        for (_, theirs) in mates {
                            prop_assert!(!theirs.contains(&number), "two have {number}");
                        }
                        holds.entry(id).or_default().insert(number);
                    }
                }
                Step::Acknowledge(id, number) => {
                    let had = holds.get_mut(&id).is_some_and(|held| held.remove(&number));
                    prop_assert_eq!(pool.acknowledge(ConsumerId(id), number, None), had);
                    if had && groups.get(&id) == Some(&true) {
                        acknowledged.insert(number);
                    }
                }
                Step::Withdraw(number) => {
                    let expected: BTreeSet<u64> =
                        holds.iter().filter(|(_, held)| held.contains(&number)).map(|(id, _)| *id).collect();
                    let named: BTreeSet<u64> = pool.withdraw(number).iter().map(|id| id.0).collect();
                    prop_assert_eq!(named, expected);
                    holds.values_mut().for_each(|held| held.retain(|one| *one != number));
                    events.remove(&number);
                }
                Step::Stop(number) => {
                    if let Some(event) = events.get(&number) {
                        event.offer.parcel.stopping.cancel();
                        pool.stop(&event.offer);
                    }
                }
            }
            for (number, event) in &mut events {
                match event.settled() {
                    Some(Settled::Handled(_)) => prop_assert!(acknowledged.contains(number)),
                    Some(Settled::Unhandled) => {
                        prop_assert!(event.offer.parcel.stopping.is_cancelled());
                    }
                    None => {}
                }
            }
        }
        // Whoever comes now gets all that is left.
        for id in groups.keys() {
            pool.leave(ConsumerId(*id));
        }
        let last = join_with(&mut pool, 100, "bot", Wanted::All, 1_000);
        let left: BTreeSet<u64> = taken(&mut pool, last).into_iter().map(|(number, _)| number).collect();
        for (number, event) in &mut events {
            let stopped = event.offer.parcel.stopping.is_cancelled();
            prop_assert!(acknowledged.contains(number) || left.contains(number) || stopped, "{number} is lost");
        }
    }
}
