//! Each token lets one node join.

use super::*;
use crate::model::TokenId;

pub(super) const TOKEN: TokenId = TokenId(0xbeef);

const NOW: u64 = 1_790_000_000_000;
/// Nodes that nobody knows yet.
const NEW: NodeId = NodeId(20);
const NEWER: NodeId = NodeId(21);

const HOUR: u64 = 3_600_000;

pub(super) fn new_token(name: Option<&str>) -> NewToken {
    NewToken {
        id: TOKEN,
        name: name.map(str::to_owned),
        salt: [1; 16],
        hash: [2; 32],
        lifetime_ms: HOUR,
        at: UnixMillis(NOW),
    }
}

pub(super) fn used_by(node: NodeId, key: u8, at: u64) -> TokenUse {
    TokenUse { node, key: [key; 32], at: UnixMillis(at) }
}

fn used(node: NodeId, key: u8, at: u64) -> Command {
    Command::UseToken { token: TOKEN, name: "apolo-3".into(), by: used_by(node, key, at) }
}

/// A log with a token in it.
fn with(token: NewToken) -> Log {
    let mut log = Log::formed(1);
    log.ok(Command::CreateToken(token));
    log
}

#[test]
fn of_two_nodes_that_use_one_token_the_first_has_it() {
    let mut log = with(new_token(None));

    log.ok(used(NEW, 1, NOW));

    assert_eq!(log.apply(used(NEWER, 2, NOW)), Outcome::Refused(Refusal::TokenUsed));
    assert_eq!(log.apply(used(NEW, 2, NOW)), Outcome::Refused(Refusal::TokenUsed));
    let by = log.state.tokens()[&TOKEN].used;
    assert_eq!(by, Some(used_by(NEW, 1, NOW)));
}

#[test]
fn a_node_whose_answer_was_lost_has_the_token_still() {
    let mut log = with(new_token(None));
    log.ok(used(NEW, 1, NOW));

    log.ok(used(NEW, 1, NOW + 5));

    assert_eq!(log.state.tokens()[&TOKEN].used, Some(used_by(NEW, 1, NOW)));
    let late = log.apply(used(NEW, 1, NOW + HOUR));
    assert_eq!(late, Outcome::Refused(Refusal::TokenExpired { at: UnixMillis(NOW + HOUR) }));
}

#[test]
fn a_token_that_has_ended_or_was_revoked_or_never_made_is_refused() {
    let mut log = with(new_token(None));
    let expired = Refusal::TokenExpired { at: UnixMillis(NOW + HOUR) };

    assert_eq!(log.apply(used(NEW, 1, NOW + HOUR)), Outcome::Refused(expired));
    log.ok(Command::RevokeToken { token: TOKEN });
    assert_eq!(log.apply(used(NEW, 1, NOW)), Outcome::Refused(Refusal::TokenUnknown));
    let again = log.apply(Command::RevokeToken { token: TOKEN });
    assert_eq!(again, Outcome::Refused(Refusal::TokenUnknown));
}

#[test]
fn a_token_for_one_name_is_refused_to_another() {
    let mut log = with(new_token(Some("apolo-4")));

    let other = log.apply(used(NEW, 1, NOW));

    assert_eq!(other, Outcome::Refused(Refusal::TokenBound("apolo-4".into())));
    assert_eq!(log.state.tokens()[&TOKEN].used, None);
}

#[test]
fn a_token_that_lives_too_long_is_refused_and_none_replaces_another() {
    let mut log = with(new_token(None));
    let long = NewToken { id: TokenId(1), lifetime_ms: 24 * HOUR + 1, ..new_token(None) };
    let day = NewToken { id: TokenId(1), lifetime_ms: 24 * HOUR, ..new_token(None) };
    let other = NewToken { hash: [3; 32], ..new_token(None) };

    let refused = |refusal| Outcome::Refused(refusal);
    assert_eq!(log.apply(Command::CreateToken(long)), refused(Refusal::TokenMalformed));
    assert_eq!(log.apply(Command::CreateToken(other)), refused(Refusal::TokenExists));
    log.ok(Command::CreateToken(day));
    log.ok(Command::CreateToken(new_token(None)));
}

#[test]
fn tokens_are_bounded_and_those_that_have_ended_make_room() {
    let mut log = Log::formed(1);
    let nth = |id, at| Command::CreateToken(NewToken { id: TokenId(id), at, ..new_token(None) });
    for id in 0..256 {
        log.ok(nth(id, UnixMillis(NOW)));
    }

    let full = log.apply(nth(256, UnixMillis(NOW + HOUR - 1)));

    assert_eq!(full, Outcome::Refused(Refusal::TokensMany(256)));
    log.ok(nth(256, UnixMillis(NOW + HOUR)));
    assert_eq!(log.state.tokens().len(), 1);
}

#[test]
fn the_leaders_time_is_the_one_that_counts() {
    let later = UnixMillis(NOW + HOUR);

    let dated = used(NEW, 1, 0).dated(later);

    assert_eq!(dated, used(NEW, 1, later.0));
    assert_eq!(Command::Unhalt.dated(later), Command::Unhalt);
}

#[test]
fn the_id_of_a_known_node_is_its_own_unless_the_token_is_for_its_name() {
    let taken = |name: &str| Outcome::Refused(Refusal::NodeTaken(name.into()));
    let mut log = with(new_token(None));
    assert_eq!(log.apply(used(NODE, 1, NOW)), taken("apolo-0"));

    let named = NewToken { id: TokenId(1), ..new_token(Some("apolo-0")) };
    log.ok(Command::CreateToken(named));
    let again = |name: &str, key| Command::UseToken {
        token: TokenId(1),
        name: name.into(),
        by: used_by(NODE, key, NOW),
    };
    assert_eq!(
        log.apply(again("apolo-1", 1)),
        Outcome::Refused(Refusal::TokenBound("apolo-0".into()))
    );
    log.ok(again("apolo-0", 1));
    log.ok(again("apolo-0", 1));
    assert_eq!(log.apply(again("apolo-0", 2)), Outcome::Refused(Refusal::TokenUsed));
}

#[test]
fn two_tokens_do_not_make_two_nodes_of_one_id() {
    let mut log = with(new_token(None));
    log.ok(Command::CreateToken(NewToken { id: TokenId(1), ..new_token(None) }));
    log.ok(used(NEW, 1, NOW));
    let second = |node, key| Command::UseToken {
        token: TokenId(1),
        name: "b".into(),
        by: used_by(node, key, NOW),
    };

    let refused = log.apply(second(NEW, 2));

    assert_eq!(refused, Outcome::Refused(Refusal::NodeTaken(NEW.to_string())));
    log.ok(second(NEWER, 2));
}
