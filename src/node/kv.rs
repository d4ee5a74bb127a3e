//! What the bot keeps, as operators and scripts ask for it over HTTP.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::member::Member;
use crate::http::{
    Expected, KvAnswer, KvAsk, KvChange, KvChanges, KvDone, KvProblem, KvRequest, KvRow, KvScore,
    KvText, ScoreChange,
};
use crate::kv::{self, Change, Condition, Consistency, Kv, KvError, Namespace, UserChange};
use crate::lease::Clock;
use crate::state::{
    State,
    user::{Entry, Path, UserOp, UserOutcome, Value},
};

/// How long a call may take: less than whoever asks over HTTP waits.
const WITHIN: Duration = Duration::from_secs(8);

/// How long a watch waits for the first change.
const WATCH: Duration = Duration::from_secs(8);

/// How long one waits for more changes behind the first: they come with one batch.
const GATHER: Duration = Duration::from_millis(5);

/// Rows or changes of one answer: of short values, less than a megabyte.
const ROWS_MAX: usize = 1_000;

/// Bytes of the values in one answer. At least one finds room.
const ROWS_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The way to what the bot keeps, and what has to run behind it.
pub(super) fn open(
    member: &Member,
    stop: CancellationToken,
) -> (Kv, impl Future<Output = ()> + Send + use<>) {
    let (raft, boot, clock) = (member.raft.clone(), member.boot, Clock::Boottime);
    Kv::new(kv::Options { raft, boot, clock }, stop)
}

/// Does it, or says why not.
pub(super) async fn kv(kv: &Kv, request: KvRequest) -> Result<KvAnswer, KvProblem> {
    let KvRequest { namespace, ask } = request;
    let (kv, name) = (kv.within(WITHIN), namespace);
    let at = |key: String| Path::new(&*name, key);
    match ask {
        KvAsk::Get { key, local } => {
            let state = read(&kv, local).await?;
            let (user, path) = (state.user(), at(key));
            Ok(KvAnswer::Row(user.get(&path).map(|entry| row(&state, &path, entry))))
        }
        KvAsk::List { prefix, after, most, local } => {
            let state = read(&kv, local).await?;
            let mut bytes = 0;
            let found =
                state.user().scan(&name, &prefix, after.as_deref()).take_while(|(_, it)| {
                    let first = bytes == 0;
                    bytes += 1 + if let Value::Bytes(value) = &it.value { value.len() } else { 0 };
                    first || bytes <= ROWS_BYTES_MAX
                });
            let rows = found.map(|(path, entry)| row(&state, path, entry));
            Ok(KvAnswer::Rows(rows.take(most.min(ROWS_MAX)).collect()))
        }
        KvAsk::Top { key, most, local } => top(&*read(&kv, local).await?, &at(key), most),
        KvAsk::Watch { prefix, from } => watch(&kv.namespace(&*name), &prefix, from).await,
        KvAsk::Put { key, value, ttl_ms, expected } => {
            let (path, value) = (at(key), bytes(&value)?.into());
            let condition = condition(expected)?;
            change(&kv, UserOp::Put { path, value, ttl_ms, condition }).await
        }
        KvAsk::Delete { key, expected } => {
            let condition = condition(expected)?;
            change(&kv, UserOp::Delete { path: at(key), condition }).await
        }
        KvAsk::Increment { key, by, ttl_ms } => {
            change(&kv, UserOp::Increment { path: at(key), by, ttl_ms }).await
        }
        KvAsk::Score { key, member, change: score } => {
            let (path, member) = (at(key), member.into());
            let op = match score {
                ScoreChange::Add(by) => UserOp::AddScore { path, member, by },
                ScoreChange::Set(score) => UserOp::SetScore { path, member, score },
                ScoreChange::Remove => UserOp::RemoveMember { path, member },
            };
            change(&kv, op).await
        }
        KvAsk::Acquire { key, holder, ttl_ms } => {
            let holder = holder.into();
            change(&kv, UserOp::Acquire { path: at(key), holder, ttl_ms }).await
        }
        KvAsk::Renew { key, token, ttl_ms } => {
            change(&kv, UserOp::Renew { path: at(key), token, ttl_ms }).await
        }
        KvAsk::Release { key, token } => {
            change(&kv, UserOp::Release { path: at(key), token }).await
        }
    }
}

async fn read(kv: &Kv, local: bool) -> Result<std::sync::Arc<State>, KvProblem> {
    let consistency = if local { Consistency::Local } else { Consistency::Linearizable };
    kv.read(consistency).await.map_err(unread)
}

async fn change(kv: &Kv, op: UserOp) -> Result<KvAnswer, KvProblem> {
    let outcome = kv.submit(op).await.map_err(problem)?;
    let revision = outcome.revision();
    Ok(KvAnswer::Done(match outcome {
        UserOutcome::Number { value, .. } => {
            KvDone { revision, number: Some(value), ..KvDone::default() }
        }
        UserOutcome::Held { token } => KvDone { token: Some(token), ..KvDone::default() },
        UserOutcome::Changed { .. } | UserOutcome::Unchanged | UserOutcome::Refused(_) => {
            KvDone { revision, ..KvDone::default() }
        }
    }))
}

fn top(state: &State, path: &Path, most: usize) -> Result<KvAnswer, KvProblem> {
    let scores = match state.user().get(path).map(|entry| &entry.value) {
        None => Vec::new(),
        Some(Value::Board(board)) => {
            let first = board.ranked().take(most.min(ROWS_MAX));
            first.map(|(member, score)| KvScore { member: member.to_string(), score }).collect()
        }
        Some(other) => {
            let why = format!("the key holds a {}, no leaderboard", other.kind());
            return Err(KvProblem::Conflict(why));
        }
    };
    Ok(KvAnswer::Top(scores))
}

async fn watch(
    namespace: &Namespace,
    prefix: &str,
    from: Option<u64>,
) -> Result<KvAnswer, KvProblem> {
    let mut watch = match from {
        Some(from) => namespace.watch_from(prefix, from),
        None => namespace.watch(prefix),
    };
    let (mut changes, mut bytes, last) = (Vec::new(), 0, Instant::now() + WATCH);
    let mut until = last;
    while changes.len() < ROWS_MAX
        && bytes < ROWS_BYTES_MAX
        && let Ok(change) = timeout_at(until, watch.next()).await
    {
        let change = change.map_err(unread)?;
        bytes += if let UserChange::Put(value) = &change.change { value.len() } else { 0 };
        changes.push(described(change));
        until = last.min(Instant::now() + GATHER);
    }
    let next =
        changes.last().map_or_else(|| watch.next_revision(), |last: &KvChange| last.revision + 1);
    Ok(KvAnswer::Changes(KvChanges { next, changes }))
}

fn described(Change { revision, key, change }: Change) -> KvChange {
    let (change, value, number, name) = match change {
        UserChange::Put(value) => ("put", Some(KvText::of(&value)), None, None),
        UserChange::Count(number) => ("count", None, Some(number), None),
        UserChange::Score(member, score) => ("score", None, score, Some(member.to_string())),
        UserChange::Acquired(holder) => ("acquired", None, None, Some(holder.to_string())),
        UserChange::Released => ("released", None, None, None),
        UserChange::Deleted => ("deleted", None, None, None),
        UserChange::Expired => ("expired", None, None, None),
    };
    KvChange { revision, key: key.to_string(), change: change.to_owned(), value, number, name }
}

fn row(state: &State, path: &Path, entry: &Entry) -> KvRow {
    let (value, number, holder) = match &entry.value {
        Value::Bytes(bytes) => (Some(KvText::of(bytes)), None, None),
        Value::Counter(number) => (None, Some(*number), None),
        Value::Board(board) => (None, i64::try_from(board.len()).ok(), None),
        Value::Lock { holder } => (None, None, Some(holder.to_string())),
    };
    KvRow {
        key: path.key.to_string(),
        kind: entry.value.kind(),
        value,
        number,
        holder,
        created: entry.created,
        modified: entry.modified,
        ttl_ms: entry.expires_at.map(|at| at.saturating_sub(state.user().now_ms())),
    }
}

fn bytes(text: &KvText) -> Result<Vec<u8>, KvProblem> {
    let wrong = || KvProblem::Malformed("hex is an even number of digits 0-9 and a-f".to_owned());
    text.bytes().ok_or_else(wrong)
}

fn condition(expected: Expected) -> Result<Condition, KvProblem> {
    Ok(match expected {
        Expected::Anything => Condition::Always,
        Expected::Absent => Condition::Absent,
        Expected::Revision(revision) => Condition::Revision(revision),
        Expected::Value(value) => Condition::Value(bytes(&value)?.into()),
    })
}

/// Why there is nothing to read. Nothing is in doubt then.
pub(super) fn unread(error: KvError) -> KvProblem {
    match problem(error) {
        KvProblem::InDoubt(why) => KvProblem::Unavailable(why),
        problem => problem,
    }
}

fn problem(error: KvError) -> KvProblem {
    let why = error.to_string();
    match error {
        KvError::Refused(_) | KvError::Compacted(_) => KvProblem::Conflict(why),
        KvError::Unavailable | KvError::Busy => KvProblem::Unavailable(why),
        KvError::InDoubt | KvError::Stopped => KvProblem::InDoubt(why),
    }
}
