//! Every bound of the users' state, with its reason.

/// The longest value, in bytes: two of them and their keys do not fit one entry of the log, one does, and an entry of
/// the log is what replicates within a heartbeat's time.
pub const VALUE_BYTES_MAX: usize = 64 * 1024;

/// The longest namespace, in bytes: a name for people.
pub const NAMESPACE_BYTES_MAX: usize = 64;

/// The longest key, in bytes: room for a few ids and words, and small beside a batch.
pub const KEY_BYTES_MAX: usize = 512;

/// The longest name of a leaderboard's member or of a lock's holder, in bytes: an id, or a node's name and an id.
pub const NAME_BYTES_MAX: usize = 256;

/// Everything that counts, in bytes ([`UserState::bytes`](super::UserState::bytes)). All replicas hold it in memory,
/// and it travels whole to a node that joins: a few seconds on the slowest link that is planned for.
pub const TOTAL_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// What a key counts beyond its bytes: its places in the maps.
pub const ENTRY_BYTES: u64 = 192;

/// What a member of a leaderboard counts beyond its bytes: its places in both of the board's orders.
pub const MEMBER_BYTES: u64 = 160;

/// Members of one leaderboard. A rank is found by counting those above it, and a state of which one is read for long is
/// kept in memory for as long.
pub const MEMBERS_MAX: usize = 65_536;

/// The longest time to live, in milliseconds: ten years. What is to live longer needs none.
pub const TTL_MS_MAX: u64 = 10 * 365 * 24 * 60 * 60 * 1_000;

/// Operations of one batch. A node has one batch under way, and its outcomes are kept until the next: 1,000 nodes' fit
/// into memory. 256 at a time are 50,000 a second where a batch takes 5 ms.
pub const BATCH_OPS_MAX: usize = 256;

/// Bytes of one batch's operations: one with the longest value fits, and what comes behind a batch in the log does not
/// wait for longer than it would behind any other entry.
pub const BATCH_BYTES_MAX: usize = 96 * 1024;

/// Keys that one batch removes because their time is over, so that applying it takes milliseconds. The rest reads as
/// absent meanwhile, and the leader proposes the next batch at once.
pub const EXPIRED_MAX: usize = 1_024;

/// Changes that are remembered for watches: some seconds of a busy cluster, so that a watch that follows its node's
/// state, or a client that connects again, misses none.
pub const HISTORY_MAX: usize = 8_192;

/// Bytes of the changes that are remembered, beside which the state keeps the same values once more.
pub const HISTORY_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// What a remembered change counts beyond its bytes.
pub(super) const CHANGE_BYTES: u64 = 96;
