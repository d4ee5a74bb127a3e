//! What happens, as it happens: server-sent events (WHATWG HTML, "Server-sent events").
//!
//! A stream ends by itself before its connection has to, and with the server. A browser's `EventSource` comes back at once, says what it had
//! last, and nobody sees a gap.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{Query, State, rejection::QueryRejection},
    http::{HeaderMap, StatusCode, header},
    response::{
        IntoResponse, Response,
        sse::{Event, Sse},
    },
    routing::get,
};
use futures_util::{
    Stream,
    stream::{StreamExt as _, iter, unfold},
};
use serde::Deserialize;
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, sleep_until, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{
    ShardRow, Source, View,
    picture::Gallery,
    routes::{Shared, problem},
};
use crate::model::ShardId;
use crate::timeline::Entry;

/// Readers of each stream at once. All of `status` share a look at all shards each second, but each is written to; one more
/// is turned away, and its browser tries again.
pub(super) const STREAMS_MAX: usize = 32;

/// A stream ends after this, well before [its connection](super::server) is let go.
const STREAM_TIME: Duration = Duration::from_secs(50);

/// When a browser comes back after a stream has ended.
const RETRY: Duration = Duration::from_secs(1);

/// Between two looks. A page that hears nothing for some seconds calls what it shows stale.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Rows that a reader is sent after one look, at most: about half a megabyte. The rest has its turn with the next.
const ROWS_A_LOOK: usize = 2_048;

/// Rows in one message.
const ROWS_MAX: usize = 512;

pub(super) fn routes() -> Router<Shared> {
    Router::new().route("/api/v1/events", get(events)).route("/api/v1/status/stream", get(status))
}

/// Which events are wanted.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
struct Since {
    /// Those behind this id.
    #[serde(default)]
    since: u64,
    /// Those that name this shard.
    shard: Option<ShardId>,
}

impl Since {
    fn wants(&self, entry: &Entry) -> bool {
        self.shard.is_none_or(|shard| entry.shards.contains(&shard))
    }
}

/// What happened: a list, or, for whoever accepts `text/event-stream`, also what will.
async fn events(
    State(shared): State<Shared>,
    wanted: Result<Query<Since>, QueryRejection>,
    headers: HeaderMap,
) -> Response {
    let wanted = match wanted {
        Ok(Query(wanted)) => wanted,
        Err(rejection) => return problem(StatusCode::BAD_REQUEST, &rejection.body_text()),
    };
    let timeline = shared.source.timeline();
    if !wants_stream(&headers) {
        let mut entries = timeline.since(wanted.since);
        entries.retain(|entry| wanted.wants(entry));
        return Json(entries).into_response();
    }
    let Ok(place) = Arc::clone(&shared.events).try_acquire_owned() else {
        return full();
    };
    let seen = last_event_id(&headers).unwrap_or(wanted.since);
    let entries = unfold((timeline, seen), move |(timeline, mut seen)| async move {
        let mut last = timeline.last();
        loop {
            last.borrow_and_update();
            let entries = timeline.since(seen);
            if let Some(newest) = entries.last() {
                seen = newest.id;
                let entries = entries.into_iter().filter(move |entry| wanted.wants(entry));
                return Some((iter(entries.map(message)), (timeline, seen)));
            }
            if last.changed().await.is_err() {
                return None;
            }
        }
    });
    stream(entries.flatten(), place, shared.stop)
}

/// Everything that this node sees, each second: `status` without the shards, `ready`, and `shards` that have changed.
async fn status(State(shared): State<Shared>) -> Response {
    let Ok(place) = Arc::clone(&shared.looks).try_acquire_owned() else {
        return full();
    };
    let looks = unfold(Looks::new(shared.source, shared.gallery), |mut looks| async move {
        let messages = looks.next().await;
        Some((iter(messages), looks))
    });
    stream(looks.flatten(), place, shared.stop)
}

/// One reader's looks.
struct Looks {
    source: Arc<dyn Source>,
    gallery: Gallery,
    due: Instant,
    /// What the reader has, by shard.
    sent: Vec<Arc<ShardRow>>,
    /// Where the next look begins, so that every shard has its turn.
    from: usize,
}

impl Looks {
    fn new(source: Arc<dyn Source>, gallery: Gallery) -> Self {
        Self { source, gallery, due: Instant::now(), sent: Vec::new(), from: 0 }
    }

    async fn next(&mut self) -> Vec<Event> {
        sleep_until(self.due).await;
        let seen = self.gallery.look(&*self.source).await;
        self.due = Instant::now() + LOOK_EVERY;
        let total = seen.rows.len();
        let fewer = total < self.sent.len();
        self.sent.truncate(total);
        let changed = self.take_changed(&seen.rows);
        let mut messages = vec![];
        for rows in changed.chunks(ROWS_MAX) {
            messages.extend(json("shards", &serde_json::json!({ "total": total, "rows": rows })));
        }
        if changed.is_empty() && fewer {
            messages.extend(json("shards", &serde_json::json!({ "total": total, "rows": [] })));
        }
        messages.extend(json("ready", &seen.ready));
        // Last: whoever has it has all that belongs to it.
        messages.extend(json("status", &seen.head));
        messages
    }

    /// Rows that the reader has not, or has otherwise, and has from here on.
    fn take_changed<'a>(&mut self, rows: &'a [Arc<ShardRow>]) -> Vec<&'a ShardRow> {
        let known = self.sent.len();
        // The first time in order, since what is kept has no gaps.
        let fresh = &rows[known..rows.len().min(known + ROWS_A_LOOK)];
        self.sent.extend_from_slice(fresh);
        let mut changed: Vec<_> = fresh.iter().map(|row| &**row).collect();
        let mut looked = 0;
        while changed.len() < ROWS_A_LOOK && looked < known {
            let at = (self.from + looked) % known;
            // One that has not changed is the very same, unless the reader is a picture behind.
            if !Arc::ptr_eq(&self.sent[at], &rows[at]) && self.sent[at] != rows[at] {
                self.sent[at] = Arc::clone(&rows[at]);
                changed.push(&rows[at]);
            }
            looked += 1;
        }
        self.from = (self.from + looked) % known.max(1);
        changed
    }
}

pub(super) fn without_shards(view: &View) -> serde_json::Value {
    let mut value = serde_json::to_value(view).unwrap_or_default();
    if let Some(fields) = value.as_object_mut() {
        fields.remove("shards");
    }
    value
}

fn message(entry: Arc<Entry>) -> Event {
    let event = Event::default().id(entry.id.to_string()).event(entry.kind.as_str());
    event.json_data(&*entry).unwrap_or_default()
}

fn json(name: &str, value: &impl serde::Serialize) -> Option<Event> {
    Event::default().event(name).json_data(value).ok()
}

fn stream<S>(messages: S, place: OwnedSemaphorePermit, stop: CancellationToken) -> Response
where
    S: Stream<Item = Event> + Send + 'static,
{
    let until = Instant::now() + STREAM_TIME;
    let first = iter([Event::default().retry(RETRY).comment("apolo")]);
    let messages = Box::pin(first.chain(messages));
    let bounded = unfold((messages, place, stop), move |(mut messages, place, stop)| async move {
        let next = stop.run_until_cancelled(messages.next());
        let message = timeout_at(until, next).await.ok()???;
        Some((Ok::<_, Infallible>(message), (messages, place, stop)))
    });
    let headers = [
        // Whatever lies between must pass it on as it comes.
        (header::CACHE_CONTROL, "no-store"),
        (X_ACCEL_BUFFERING, "no"),
        // The next stream has the whole of a connection's time again.
        (header::CONNECTION, "close"),
    ];
    (headers, Sse::new(bounded)).into_response()
}

/// nginx' word for it.
const X_ACCEL_BUFFERING: header::HeaderName = header::HeaderName::from_static("x-accel-buffering");

fn wants_stream(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/event-stream"))
}

fn last_event_id(headers: &HeaderMap) -> Option<u64> {
    headers.get("last-event-id")?.to_str().ok()?.parse().ok()
}

fn full() -> Response {
    problem(
        StatusCode::SERVICE_UNAVAILABLE,
        &format!("{STREAMS_MAX} readers have this stream already; close one, or ask another node"),
    )
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::{BoxFuture, join_all};

    use super::*;
    use crate::http::{Change, Changed, Unhalted, view::tests::view};
    use crate::model::Sequence;

    /// Counts how often it is looked at.
    #[derive(Debug, Default)]
    struct Counted(AtomicUsize);

    impl Source for Counted {
        fn view(&self) -> View {
            self.0.fetch_add(1, Ordering::Relaxed);
            view(4)
        }

        fn metrics(&self) -> String {
            String::new()
        }

        fn change(&self, _: Change) -> BoxFuture<'_, Result<Changed, String>> {
            Box::pin(async { Err(String::new()) })
        }

        fn unhalt(&self) -> BoxFuture<'_, Result<Unhalted, String>> {
            Box::pin(async { Err(String::new()) })
        }
    }

    fn looks() -> Looks {
        Looks::new(Arc::new(Counted::default()), Gallery::default())
    }

    fn shared(rows: &[ShardRow]) -> Vec<Arc<ShardRow>> {
        rows.iter().cloned().map(Arc::new).collect()
    }

    fn taken(looks: &mut Looks, rows: &[ShardRow]) -> Vec<u32> {
        looks.take_changed(&shared(rows)).iter().map(|row| row.shard.0).collect()
    }

    #[tokio::test]
    async fn a_reader_is_sent_what_changed() {
        let mut looks = looks();
        let mut rows = view(4).shards;

        assert_eq!(taken(&mut looks, &rows), [0, 1, 2, 3]);
        assert_eq!(taken(&mut looks, &rows), Vec::<u32>::new());
        rows[2].sequence = Sequence(99);

        assert_eq!(taken(&mut looks, &rows), [2]);
        assert_eq!(looks.sent, shared(&rows));
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_of_all_readers_costs_one_look() {
        let (source, gallery) = (Arc::new(Counted::default()), Gallery::default());
        let reader = || Looks::new(Arc::clone(&source) as Arc<dyn Source>, gallery.clone());
        let mut readers: Vec<_> = (0..STREAMS_MAX).map(|_| reader()).collect();

        for second in 1..=3 {
            join_all(readers.iter_mut().map(Looks::next)).await;
            assert_eq!(source.0.load(Ordering::Relaxed), second);
        }

        // What has not changed is one row for all of them.
        let first = &readers[0].sent;
        assert!(readers.iter().all(|it| it.sent.iter().zip(first).all(|(a, b)| Arc::ptr_eq(a, b))));
    }

    #[tokio::test]
    async fn every_shard_of_the_largest_bot_has_its_turn_though_all_change() {
        let mut looks = looks();
        let mut rows = view(16_384).shards;
        let mut seen = std::collections::BTreeSet::new();
        for look in 0..16 {
            rows.iter_mut().for_each(|row| row.sequence = Sequence(look));
            let taken = taken(&mut looks, &rows);
            assert!(taken.len() <= ROWS_A_LOOK);
            if look >= 8 {
                seen.extend(taken);
            }
        }

        assert_eq!(seen.len(), 16_384);
    }
}
