//! What follows from what is heard, case by case.

use uuid::Uuid;

use super::*;

const X: ClusterId = ClusterId(Uuid::from_u128(0xa));
const Y: ClusterId = ClusterId(Uuid::from_u128(0xb));

pub(super) fn at(node: u64) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, u8::try_from(node).unwrap()], 7400))
}

fn set(nodes: &[u64]) -> BTreeSet<NodeId> {
    nodes.iter().copied().map(NodeId).collect()
}

fn named(nodes: &[u64]) -> BTreeMap<NodeId, String> {
    nodes.iter().map(|node| (NodeId(*node), format!("n{node}"))).collect()
}

pub(super) fn empty(node: u64, expect: u64, sees: &[u64]) -> Answer {
    Answer::Empty { node: NodeId(node), name: format!("n{node}"), expect, sees: set(sees) }
}

pub(super) fn member(node: u64, cluster: ClusterId) -> Answer {
    Answer::Member { node: NodeId(node), name: format!("n{node}"), cluster, peers: vec![] }
}

pub(super) fn promised(node: u64, cluster: ClusterId, founder: u64, sees: &[u64]) -> Answer {
    let (name, founder) = (format!("n{node}"), NodeId(founder));
    Answer::Promised { node: NodeId(node), name, cluster, founder, sees: set(sees) }
}

pub(super) fn lost(node: u64, cluster: Option<ClusterId>) -> Answer {
    Answer::Lost { node: NodeId(node), name: format!("n{node}"), cluster }
}

fn promise(cluster: ClusterId, founder: u64, members: &[u64]) -> Promise {
    Promise { cluster, founder: NodeId(founder), members: named(members) }
}

/// Node 1 and what it knows; it expects three.
#[derive(Clone, Default)]
struct Known {
    heard: BTreeMap<SocketAddr, Heard>,
    silent: BTreeSet<SocketAddr>,
    unresolved: Vec<(String, String)>,
    callers: BTreeMap<NodeId, String>,
}

impl Known {
    fn new(answers: impl IntoIterator<Item = Answer>) -> Self {
        let mut known = Self::default();
        known.heard.insert(at(1), Heard::Myself);
        for answer in answers {
            let (node, _) = answer.who().unwrap();
            known.heard.insert(at(node.0), Heard::Answer(answer));
        }
        known
    }

    fn view<'a>(&'a self, me: u64, name: &'a str, expect: usize) -> View<'a> {
        View {
            me: NodeId(me),
            name,
            expect,
            heard: &self.heard,
            silent: &self.silent,
            unresolved: &self.unresolved,
            callers: &self.callers,
        }
    }

    fn decide(&self, standing: &Standing) -> Decision {
        decide(standing, &self.view(1, "n1", 3))
    }

    fn waits(&self) -> Waiting {
        match self.decide(&Standing::Empty) {
            Decision::Wait(waiting) => waiting,
            other => panic!("{other:?}"),
        }
    }
}

fn all_agree() -> [Answer; 2] {
    [empty(2, 3, &[1, 2, 3]), empty(3, 3, &[1, 2, 3])]
}

#[test]
fn the_lowest_name_founds_when_all_agree_and_the_others_wait_for_it() {
    let known = Known::new(all_agree());

    let founds = known.decide(&Standing::Empty);
    let waits = decide(&Standing::Empty, &known.view(1, "n9", 3));

    assert_eq!(founds, Decision::Found { members: named(&[1, 2, 3]) });
    assert_eq!(waits, Decision::Wait(Waiting::Founder { name: "n2".to_owned() }));
}

#[test]
fn one_node_at_two_addresses_is_one_node() {
    let mut known = Known::new([empty(2, 3, &[1, 2])]);
    known.heard.insert(at(9), Heard::Answer(empty(2, 3, &[1, 2])));
    assert!(matches!(known.waits(), Waiting::Few { seen, .. } if seen.len() == 2));

    let mut known = Known::new(all_agree());
    known.heard.insert(at(9), Heard::Answer(empty(2, 3, &[1, 2, 3])));
    assert!(matches!(known.decide(&Standing::Empty), Decision::Found { .. }));
}

#[test]
fn a_silent_address_and_a_name_that_does_not_resolve_are_waited_for() {
    let mut silent = Known::new(all_agree());
    silent.silent.insert(at(4));
    let mut unresolved = Known::new(all_agree());
    unresolved.unresolved.push(("node-4".to_owned(), "no such name".to_owned()));

    assert!(silent.waits().to_string().contains("10.0.0.4:7400"));
    assert!(unresolved.waits().to_string().contains("node-4 (no such name)"));
}

#[test]
fn two_of_three_are_not_enough() {
    let known = Known::new([empty(2, 3, &[1, 2])]);

    assert!(matches!(known.waits(), Waiting::Few { expect: 3, .. }));
}

#[test]
fn more_than_expected_never_form() {
    let four = [2, 3, 4].map(|node| empty(node, 3, &[1, 2, 3, 4]));
    let mut called = Known::new(all_agree());
    called.callers = named(&[2, 4]);

    assert!(matches!(Known::new(four).waits(), Waiting::Many { seen, .. } if seen.len() == 4));
    assert!(matches!(called.waits(), Waiting::Many { seen, .. } if seen.len() == 4));
}

#[test]
fn a_node_that_asks_and_is_not_reached_is_waited_for() {
    let mut known = Known::new([empty(2, 3, &[1, 2, 3])]);
    known.callers = named(&[3]);

    assert_eq!(known.waits(), Waiting::Unreached { names: vec!["n3".to_owned()] });
}

#[test]
fn a_node_that_sees_others_is_waited_for() {
    for other in [&[2, 3][..], &[1, 2, 3, 4], &[2, 3, 4]] {
        let known = Known::new([empty(2, 3, &[1, 2, 3]), empty(3, 3, other)]);

        assert_eq!(known.waits(), Waiting::OtherView { name: "n3".to_owned() }, "{other:?}");
    }
}

#[test]
fn a_node_that_expects_another_number_is_waited_for() {
    let known = Known::new([empty(2, 3, &[1, 2, 3]), empty(3, 5, &[1, 2, 3])]);

    assert!(matches!(known.waits(), Waiting::OtherExpect { theirs: 5, expect: 3, .. }));
}

#[test]
fn one_name_of_two_nodes_is_told() {
    let known = Known::new(all_agree());
    let decision = decide(&Standing::Empty, &known.view(1, "n3", 3));

    let nodes = set(&[1, 3]);
    let waiting = Waiting::OneName { name: "n3".to_owned(), nodes };
    assert_eq!(decision, Decision::Wait(waiting));
}

#[test]
fn whoever_belongs_to_a_cluster_keeps_others_from_forming_one() {
    let [two, _] = all_agree();
    for (third, is) in [(lost(3, Some(X)), Some(X)), (lost(3, None), None)] {
        let waits = Known::new([two.clone(), third]).waits();
        assert!(matches!(waits, Waiting::Marked { cluster, .. } if cluster == is));
    }
    let waits = Known::new([two, promised(3, X, 9, &[1, 2, 3])]).waits();
    assert!(matches!(waits, Waiting::BeingFormed { cluster: X, founder: NodeId(9), .. }));
}

#[test]
fn whoever_can_not_be_understood_is_waited_for() {
    let mut known = Known::new(all_agree());
    known.heard.insert(at(4), Heard::Unclear("another version".to_owned()));

    assert!(matches!(known.waits(), Waiting::Unclear { .. }));
}

#[test]
fn one_member_is_enough_to_join_whatever_else_is_heard() {
    let told = Answer::Member {
        node: NodeId(3),
        name: "n3".to_owned(),
        cluster: X,
        peers: [2, 3, 1, 7]
            .map(|node| crate::cluster::Neighbour {
                node: NodeId(node),
                name: String::new(),
                address: at(90),
            })
            .into(),
    };
    let mut known = Known::new([member(2, X), told, lost(4, Some(Y)), empty(5, 3, &[5])]);
    known.silent.insert(at(6));

    let peers = vec![(NodeId(2), at(2)), (NodeId(3), at(3)), (NodeId(7), at(90))];
    assert_eq!(known.decide(&Standing::Empty), Decision::Join { cluster: X, peers });
}

#[test]
fn between_two_clusters_there_is_no_choice() {
    let waits = Known::new([member(2, X), member(3, Y)]).waits().to_string();

    assert!(waits.contains(&X.to_string()) && waits.contains(&Y.to_string()), "{waits}");
}

#[test]
fn who_lost_a_cluster_joins_that_one_alone_and_never_forms() {
    let lost = Standing::Lost(Some(X));
    let unknown = Standing::Lost(None);
    let own = Known::new([member(2, X), member(3, Y)]);
    let other = Known::new([member(3, Y)]);
    let nobody = Known::new(all_agree());

    assert!(matches!(own.decide(&lost), Decision::Join { cluster: X, .. }));
    let waits = Waiting::OtherCluster { cluster: X, found: Y };
    assert_eq!(other.decide(&lost), Decision::Wait(waits));
    assert!(matches!(nobody.decide(&lost), Decision::Wait(Waiting::OwnCluster { .. })));
    for known in [own, other, nobody] {
        assert_eq!(known.decide(&unknown), Decision::Wait(Waiting::OwnLoss));
    }
}

#[test]
fn a_promise_binds() {
    let own = Standing::Promised(promise(X, 1, &[1, 2, 3]));
    let others = Standing::Promised(promise(X, 2, &[1, 2, 3]));
    let nobody = Known::default();
    let elsewhere = Known::new([member(9, Y)]);
    let forgotten = Known::new([member(2, X)]);

    assert!(matches!(nobody.decide(&own), Decision::Collect(_)));
    assert!(matches!(nobody.decide(&others), Decision::Follow(_)));
    assert!(matches!(elsewhere.decide(&others), Decision::Follow(_)));
    assert!(matches!(elsewhere.decide(&own), Decision::Wait(Waiting::OtherCluster { .. })));
    assert!(matches!(forgotten.decide(&own), Decision::Wait(Waiting::Forgotten { .. })));
}

#[test]
fn alone_is_enough_where_one_is_expected_and_nobody_is_named() {
    let alone = Known::default();
    let mut silent = Known::default();
    silent.silent.insert(at(2));
    let joins = Known::new([member(2, X)]);
    let decide = |known: &Known| decide(&Standing::Empty, &known.view(1, "n1", 1));

    assert_eq!(decide(&alone), Decision::Found { members: named(&[1]) });
    assert!(matches!(decide(&silent), Decision::Wait(Waiting::Silent { .. })));
    assert!(matches!(decide(&joins), Decision::Join { cluster: X, .. }));
}

#[test]
fn a_founder_is_promised_only_what_this_node_sees_itself() {
    let wanted = promise(X, 1, &[1, 2, 3]);
    let known = Known::new([promised(1, X, 1, &[1, 2, 3]), empty(3, 3, &[1, 2, 3])]);
    let asks = |standing: &Standing, known: &Known, founder, promise: &Promise, expect| {
        consider(standing, &known.view(2, "n2", expect), NodeId(founder), promise)
    };
    let empty_standing = Standing::Empty;
    let mut silent = known.clone();
    silent.silent.insert(at(4));
    let mut joined = known.clone();
    joined.heard.insert(at(4), Heard::Answer(member(4, Y)));
    let kept = Standing::Promised(wanted.clone());

    assert_eq!(asks(&empty_standing, &known, 1, &wanted, 3), Verdict::Keep);
    assert_eq!(asks(&kept, &Known::default(), 1, &wanted, 3), Verdict::Keep);
    for verdict in [
        asks(&empty_standing, &known, 1, &promise(X, 1, &[1, 2]), 3),
        asks(&empty_standing, &known, 1, &promise(Y, 1, &[1, 2, 3]), 3),
        asks(&empty_standing, &known, 3, &promise(X, 3, &[1, 2, 3]), 3),
        asks(&empty_standing, &known, 3, &wanted, 3),
        asks(&empty_standing, &known, 1, &wanted, 2),
        asks(&empty_standing, &silent, 1, &wanted, 3),
        asks(&empty_standing, &joined, 1, &wanted, 3),
        asks(&kept, &known, 3, &promise(Y, 3, &[1, 2, 3]), 3),
        asks(&kept, &known, 1, &promise(Y, 1, &[1, 2, 3]), 3),
        asks(&Standing::Lost(Some(X)), &known, 1, &wanted, 3),
        asks(&Standing::Lost(None), &known, 1, &wanted, 3),
    ] {
        assert!(matches!(verdict, Verdict::Refuse(_)), "{verdict:?}");
    }
}
