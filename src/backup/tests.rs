//! The format: what is written is read, and what is anything else is not.

use bytes::Bytes;
use proptest::prelude::*;
use uuid::Uuid;

use super::{
    write::{frame, preamble},
    *,
};
use crate::state::user::{
    Condition, Item, Path as Key, Restore, RestoreId, RestorePlan, RestoreStep, UserBatch, UserOp,
    UserState, decode_chunk,
};

const MADE_AT: UnixMillis = UnixMillis(1_790_000_000_000);

fn cluster() -> ClusterId {
    ClusterId(Uuid::from_u128(0x42))
}

fn keeping(ops: Vec<UserOp>) -> UserState {
    let mut user = UserState::default();
    for ops in ops.chunks(256) {
        user.apply(UserBatch { sent: None, now_ms: 1_000, ops: ops.to_vec() });
    }
    user
}

fn path(key: &str) -> Key {
    Key::new("default", key)
}

fn put(key: &str, value: &[u8], ttl_ms: Option<u64>) -> UserOp {
    let (value, condition) = (Bytes::copy_from_slice(value), Condition::Always);
    UserOp::Put { path: path(key), value, ttl_ms, condition }
}

/// Something of everything.
fn small() -> UserState {
    keeping(vec![
        put("a", b"value", None),
        put("b", b"", Some(60_000)),
        UserOp::Increment { path: path("n"), by: -300, ttl_ms: Some(1_000) },
        UserOp::SetScore { path: path("xp"), member: "ada".into(), score: 1_500 },
        UserOp::SetScore { path: path("xp"), member: "bob".into(), score: -7 },
        UserOp::Acquire { path: path("lock"), holder: "me".into(), ttl_ms: 1_000 },
    ])
}

fn file(user: &UserState) -> Vec<u8> {
    frames(user, cluster(), MADE_AT).collect::<Vec<_>>().concat()
}

fn items(backup: &Backup<'_>) -> Vec<Item> {
    backup.chunks.iter().flat_map(|chunk| decode_chunk(chunk).unwrap()).collect()
}

#[test]
fn what_was_written_is_read() {
    let user = small();
    let bytes = file(&user);

    let backup = read(&bytes).unwrap();

    let counts = Counts { values: 2, counters: 1, leaderboards: 1, members: 2 };
    assert_eq!(backup.header.counts, counts);
    assert_eq!((backup.header.revision, backup.header.locks), (6, 1));
    assert_eq!((backup.header.cluster, backup.header.made_at), (cluster(), MADE_AT));
    assert_eq!(items(&backup), user.items().collect::<Vec<_>>());
}

#[test]
fn a_bot_that_keeps_nothing_has_a_backup_too() {
    let bytes = file(&UserState::default());

    let backup = read(&bytes).unwrap();

    assert_eq!((backup.header.counts, backup.chunks.len()), (Counts::default(), 0));
}

#[test]
fn a_file_of_version_1_is_still_read() {
    let golden = include_bytes!("../../tests/data/backup/backup-v1.apolo");

    let backup = read(golden).unwrap();

    assert_eq!(backup.header.apolo, "0.1.0");
    assert_eq!(items(&backup), small().items().collect::<Vec<_>>());
    if backup.header.apolo == env!("CARGO_PKG_VERSION") {
        assert_eq!(file(&small()), golden);
    }
}

#[test]
fn a_file_that_ends_early_says_so_wherever_that_is() {
    let bytes = file(&small());
    for at in 0..bytes.len() {
        assert_eq!(read(&bytes[..at]), Err(BackupError::Truncated { at }));
    }
}

#[test]
fn each_bit_that_has_changed_is_noticed() {
    let bytes = file(&small());
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << bit;
            match read(&changed) {
                Err(BackupError::Foreign) => assert!(at < MAGIC.len(), "{at}"),
                Err(BackupError::Damaged { at: said }) => assert!(said <= at, "{said} {at}"),
                other => panic!("byte {at}, bit {bit}: {other:?}"),
            }
        }
    }
}

#[test]
fn parts_that_are_left_out_twice_there_or_of_another_file_are_noticed() {
    let many: Vec<_> = (0..3_000).map(|nth| put(&format!("{nth:04}"), &[7; 64], None)).collect();
    let pieces: Vec<_> = frames(&keeping(many), cluster(), MADE_AT).collect();
    assert!(pieces.len() >= 5, "{}", pieces.len());
    let other: Vec<_> = frames(&small(), cluster(), UnixMillis(1)).collect();
    let of =
        |order: &[usize]| order.iter().flat_map(|nth| pieces[*nth].to_vec()).collect::<Vec<_>>();

    for order in [&[0, 1, 3, 4][..], &[0, 1, 2, 2, 4], &[0, 2, 1, 3, 4], &[0, 1, 2, 3, 3, 4]] {
        let read = read(&of(order)).map(|_| ());
        assert!(matches!(read, Err(BackupError::Damaged { .. })), "{order:?}: {read:?}");
    }
    let spliced = [&other[0][..], &of(&[1, 2, 3, 4])].concat();
    assert!(matches!(read(&spliced), Err(BackupError::Damaged { .. })));
    let twice = [file(&small()), vec![0; 3]].concat();
    assert_eq!(read(&twice), Err(BackupError::Trailing(3)));
}

#[test]
fn another_programs_file_and_a_newer_apolos_are_told_apart() {
    assert_eq!(read(b"{\"keys\": []}"), Err(BackupError::Foreign));
    assert_eq!(read(b"\x7fELF"), Err(BackupError::Foreign));
    assert_eq!(read(b"\x89APOLO\n"), Err(BackupError::Foreign), "it was taken for text");
    let newer = [&preamble(VERSION + 1)[..], b"whatever that has"].concat();
    assert_eq!(read(&newer), Err(BackupError::Newer(VERSION + 1)));
}

#[test]
fn no_length_in_a_file_is_believed() {
    let long = frame(FrameKind::Header, &[0; SHORT_BYTES_MAX + 1]);
    let bytes = [&preamble(VERSION)[..], &long].concat();
    assert!(matches!(read(&bytes), Err(BackupError::Malformed { .. })));
    let first = frames(&small(), cluster(), MADE_AT).next().unwrap();
    // A value that says to have 4 GiB.
    let chunk = frame(FrameKind::Chunk, b"\x00\x01n\x01k\xff\xff\xff\xff\x0f");
    let read = read(&[&first[..], &chunk].concat()).map(|_| ());
    assert!(matches!(read, Err(BackupError::Malformed { .. })), "{read:?}");
    assert!(matches!(super::read(&vec![0; FILE_BYTES_MAX + 1]), Err(BackupError::Long(_))));
}

fn op() -> impl Strategy<Value = UserOp> {
    let key = || "[a-c]{1,2}".prop_map(|key| path(&key));
    let ttl = || prop::option::of(1..1_000_u64);
    let value = prop::collection::vec(any::<u8>(), 0..40_000);
    let put = (key(), value, ttl()).prop_map(|(path, value, ttl_ms)| UserOp::Put {
        path,
        value: value.into(),
        ttl_ms,
        condition: Condition::Always,
    });
    let increment = (key(), any::<i64>(), ttl()).prop_map(|(path, by, ttl_ms)| UserOp::Increment {
        path,
        by,
        ttl_ms,
    });
    let score = (key(), "[a-z]{1,3}", any::<i64>())
        .prop_map(|(path, member, score)| UserOp::SetScore { path, member: member.into(), score });
    let acquire = key().prop_map(|path| UserOp::Acquire { path, holder: "me".into(), ttl_ms: 9 });
    prop_oneof![put, increment, score, acquire]
}

proptest! {
    #[test]
    fn whatever_is_kept_comes_back(ops in prop::collection::vec(op(), 0..60)) {
        let user = keeping(ops);
        let bytes = file(&user);
        let Backup { header, seed, digest, chunks } = read(&bytes).unwrap();

        let mut other = UserState::default();
        let id = RestoreId(1);
        let plan = RestorePlan {
            id,
            revision: header.revision,
            seed,
            digest,
            chunks: u32::try_from(chunks.len()).unwrap(),
            keys: header.counts.keys(),
            replace: false,
            within_ms: 1,
        };
        let chunks = (0..).zip(chunks).map(|(number, chunk)| {
            RestoreStep::Chunk { id, number, chunk: Bytes::copy_from_slice(chunk) }
        });
        let steps = [RestoreStep::Begin(plan)].into_iter().chain(chunks);
        for step in steps.chain([RestoreStep::Finish(id)]) {
            let done = other.restore(Restore { now_ms: 0, step });
            prop_assert!(done.is_ok(), "{done:?}");
        }

        // One millisecond for the restore.
        let longer = |item| match item {
            Item::Value { path, value, ttl_ms: Some(ttl) } => {
                Item::Value { path, value, ttl_ms: Some(ttl + 1) }
            }
            Item::Counter { path, value, ttl_ms: Some(ttl) } => {
                Item::Counter { path, value, ttl_ms: Some(ttl + 1) }
            }
            same => same,
        };
        prop_assert!(other.items().eq(user.items().map(longer)));
        prop_assert_eq!(other.bytes(), header.bytes);
    }
}
