//! What an earlier apolo left on the disk is still read, and written the same.

use std::fmt::{Debug, Write as _};

use serde::{Serialize, de::DeserializeOwned};

use super::{super::*, record, vote};
use crate::{
    model::{BootEpoch, ClusterId, NodeId},
    store::{
        frame::{self, Assembly, Linked},
        identity::{self, SLOT_BYTES},
        log::{Owner, Purged, decode_fact, encode_fact},
        promise, snapshot,
    },
};

/// One line for each kind of record, with its name.
const GOLDEN: &str = include_str!("../../../tests/data/store/records-v1.txt");

fn golden(name: &str) -> Vec<u8> {
    let line = GOLDEN.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let digits = line.unwrap_or_else(|| panic!("no golden bytes of {name}")).as_bytes().chunks(2);
    let byte = |pair| u8::from_str_radix(str::from_utf8(pair).expect("ASCII"), 16).expect("hex");
    digits.map(byte).collect()
}

fn assert_written(name: &str, bytes: &[u8]) {
    let hex = bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    });
    assert!(golden(name) == bytes, "{name} is now written as {hex}");
}

fn fact<T: Serialize + DeserializeOwned + Debug + PartialEq>(
    line: &str,
    name: &'static str,
    fact: &T,
) {
    assert_eq!(decode_fact::<T>(name, &golden(line)).as_ref(), Ok(fact), "{line}");
    assert_written(line, &encode_fact(name, fact));
}

#[test]
fn an_entry_written_by_version_1_is_still_read() {
    let record = record(3, 258, 5_000);
    let linked = Linked { chain: frame::link(7, &record), record };

    let chunks = frame::encode(&linked);
    let mut assembly = Assembly::default();
    let read: Vec<Linked> = chunks
        .iter()
        .zip(["entry-0", "entry-1"])
        .filter_map(|((key, _), name)| {
            // The second chunk's content is long and says nothing new: its head stands for it.
            let value = golden(name);
            let rest =
                &chunks.iter().find(|(other, _)| other == key).unwrap().1[value.len() - 10..];
            assembly.add(key, &[&value[10..], rest].concat()).unwrap()
        })
        .collect();

    assert_eq!(read, [linked]);
    for ((key, value), name) in chunks.iter().zip(["entry-0", "entry-1"]) {
        assert_written(name, &[&key[..], &value[..value.len().min(40)]].concat());
    }
}

#[test]
fn facts_written_by_version_1_are_still_read() {
    let position = Position { term: 3, index: 70_000 };
    let cluster = Some(ClusterId(uuid::Uuid::from_u128(0x0102_0304)));
    let owner = Owner { cluster, node: NodeId(300), boot: BootEpoch(2) };

    fact("vote", "vote", &vote(3));
    fact("committed", "committed", &Some(position));
    fact("committed-nothing", "committed", &None::<Position>);
    fact("owner", "owner", &owner);
    fact("owner-without-cluster", "owner", &Owner { cluster: None, ..owner });
    fact("purged", "purged", &Purged { position, chain: 0x0a0b_0c0d });
}

#[test]
fn an_identity_written_by_version_1_is_still_read() {
    let new = Identity::new(NodeId(300), Some(ClusterId(uuid::Uuid::from_u128(0x0102_0304))));
    let whole = Identity {
        boot: BootEpoch(2),
        vote: Some(vote(3)),
        last: Some(Position { term: 3, index: 70_000 }),
        chain: 0x0a0b_0c0d,
        ready: true,
        ..new
    };

    for (name, identity, sequence) in [("identity-new", new, 1), ("identity", whole, 260)] {
        let mut slot = golden(name);
        slot.resize(SLOT_BYTES, 0);
        let found = identity::decode_slot(Some(&slot));
        let written = identity::encode(&identity, sequence);

        assert_eq!(found, identity::Found::Identity { identity, sequence });
        // The rest of a slot is empty.
        assert_written(name, &written[..golden(name).len()]);
        assert!(written[golden(name).len()..].iter().all(|byte| *byte == 0));
    }
}

#[test]
fn a_snapshot_written_by_version_1_is_still_read() {
    let last = Some(Position { term: 3, index: 70_000 });
    let snapshot = Snapshot { last, meta: vec![1, 2, 3], state: b"the state".to_vec() };

    let file = [golden("snapshot"), snapshot.state.clone()].concat();

    assert_eq!(snapshot::decode(&file), snapshot::Found::Snapshot(snapshot.clone()));
    assert_written("snapshot", &snapshot::head(&snapshot).unwrap());
}

#[test]
fn a_promise_written_by_version_1_is_still_read() {
    let members = [(NodeId(3), "a".to_owned()), (NodeId(300), "b".to_owned())];
    let cluster = ClusterId(uuid::Uuid::from_u128(0x0102_0304));
    let promise = Promise { cluster, founder: NodeId(3), members: members.into() };

    assert_written("promise", &promise::encode(&promise));
    assert_eq!(promise::decode(&golden("promise")), promise::Found::Promise(promise));
}
