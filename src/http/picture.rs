//! One look at everything for all who read along: however many they are, a second costs one look.

use std::{sync::Arc, time::Duration};

use serde_json::Value;
use tokio::{sync::Mutex, time::Instant};

use super::{Readiness, ShardRow, Source, readiness, streams::without_shards};

/// How old a look may be that is shared: half of what lies between two of one reader.
const FRESH: Duration = Duration::from_millis(500);

/// How things stood at one moment.
#[derive(Debug)]
pub(super) struct Picture {
    /// Everything but the shards.
    pub(super) head: Value,
    pub(super) ready: Readiness,
    /// A row that has not changed is that of the last picture, so that readers share it and see so at once.
    pub(super) rows: Vec<Arc<ShardRow>>,
}

/// The last picture.
#[derive(Clone, Debug, Default)]
pub(super) struct Gallery(Arc<Mutex<Option<Hung>>>);

/// A picture, and when it was taken.
type Hung = (Instant, Arc<Picture>);

impl Gallery {
    /// The last picture, or a new one if that is old.
    pub(super) async fn look(&self, source: &dyn Source) -> Arc<Picture> {
        let mut last = self.0.lock().await;
        if let Some((at, picture)) = last.as_ref()
            && at.elapsed() < FRESH
        {
            return Arc::clone(picture);
        }
        let mut view = source.survey().await;
        let ready = readiness(&view);
        let rows = std::mem::take(&mut view.shards);
        let known = last.as_ref().map_or(&[][..], |(_, picture)| &picture.rows);
        let rows = rows.into_iter().enumerate().map(|(nth, row)| match known.get(nth) {
            Some(same) if **same == row => Arc::clone(same),
            _ => Arc::new(row),
        });
        let picture = Picture { head: without_shards(&view), ready, rows: rows.collect() };
        let picture = Arc::new(picture);
        *last = Some((Instant::now(), Arc::clone(&picture)));
        picture
    }
}
