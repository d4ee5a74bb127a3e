//! What is said once of the whole cluster.

use super::*;

#[test]
fn a_second_cluster_is_never_formed() {
    let mut log = Log::formed(1);

    let outcome = log.apply(Command::Form { cluster: ClusterId(Uuid::from_u128(2)) });

    assert_eq!(outcome, Outcome::Refused(Refusal::OtherCluster(cluster())));
}

#[test]
fn facts_are_fixed_once() {
    let mut log = Log::formed(4);

    log.ok(Command::FixFacts(facts(4)));
    let outcome = log.apply(Command::FixFacts(facts(8)));

    assert_eq!(outcome, Outcome::Refused(Refusal::FactsDiffer(facts(4))));
}

#[test]
fn resharding_drops_every_session_but_keeps_the_numbers_growing() {
    let mut log = Log::formed(4);
    log.start_session(SHARD, 5);

    log.ok(Command::Reshard { from: facts(4).total, facts: facts(8) });

    assert_eq!(log.state.shards().len(), 8);
    assert!(log.state.shards().values().all(|shard| shard.session().is_none()));
    assert_eq!(log.start_session(SHARD, 5), Outcome::Stale);
    assert_eq!(log.start_session(SHARD, 6), Outcome::Applied);
}

#[test]
fn another_bot_never_reshards_a_cluster() {
    let mut log = Log::formed(4);
    let facts = Facts { application: ApplicationId(43), ..facts(8) };

    let outcome = log.apply(Command::Reshard { from: facts.total, facts });

    assert!(matches!(outcome, Outcome::Refused(Refusal::FactsDiffer(_))));
}

#[test]
fn the_last_leader_and_the_one_before_it_are_known() {
    let mut log = Log::formed(1);

    log.ok(Command::Lead { node: NODE, term: 4 });

    assert_eq!(log.state.lead(), Some(Lead { node: NODE, term: 4, before: Some(OTHER) }));
}

#[test]
fn who_succeeds_a_leader_that_has_yielded_knows_no_predecessor() {
    let mut log = Log::formed(1);
    log.ok(Command::Lead { node: NODE, term: 4 });
    for (node, term) in [(OTHER, 4), (NODE, 3)] {
        assert_eq!(log.apply(Command::YieldLead { node, term }), Outcome::Stale);
    }

    log.ok(Command::YieldLead { node: NODE, term: 4 });
    log.ok(Command::Lead { node: OTHER, term: 5 });

    assert_eq!(log.state.lead(), Some(Lead { node: OTHER, term: 5, before: None }));
}

#[test]
fn a_leader_that_begins_twice_or_late_counts_once() {
    let mut log = Log::formed(1);
    log.ok(Command::Lead { node: NODE, term: 4 });

    for term in [4, 3] {
        assert_eq!(log.apply(Command::Lead { node: OTHER, term }), Outcome::Stale);
    }
    assert_eq!(log.state.lead(), Some(Lead { node: NODE, term: 4, before: Some(OTHER) }));
}
