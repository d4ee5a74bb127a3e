//! A victim that asks every shard as fast as it can, for as long as a file is there.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use apolo::{
    ShardId,
    ipc::{Ipc, Target},
};
use futures_util::future::join_all;
use tokio::time::sleep;

/// What every node answers: how long what it was sent is.
pub(super) const EVENT: &str = "storm";

/// Requests under way at once: more than the lines to its peers take.
const AT_ONCE: u32 = 256;

/// Of each request.
const BYTES: usize = 4_096;

/// Between two looks at whether there is a file.
const LOOK_EVERY: Duration = Duration::from_millis(100);

#[derive(Default)]
struct Counts {
    answered: AtomicU64,
    failed: AtomicU64,
}

/// Where a storm says how many requests were answered and how many were not.
pub(crate) fn counts_of(file: &Path) -> PathBuf {
    file.with_extension("counts")
}

/// In one piece: whoever looks may do so at any moment.
fn write(file: &Path, answered: u64, failed: u64) -> io::Result<()> {
    let new = file.with_extension("new");
    fs::write(&new, format!("{answered} {failed}"))?;
    fs::rename(new, counts_of(file))
}

/// Storms while `file` is there, and tells beside it what came of it.
pub(super) async fn watch(ipc: Ipc, shards: u32, file: PathBuf) {
    let data = "x".repeat(BYTES);
    loop {
        let counts = Counts::default();
        let askers = (0..AT_ONCE).map(|nth| ask(&ipc, (nth, shards), &data, &counts, &file));
        let tell = async {
            while file.exists() {
                let [answered, failed] =
                    [&counts.answered, &counts.failed].map(|count| count.load(Ordering::Relaxed));
                // Who finds nothing says so.
                let _ = write(&file, answered, failed);
                sleep(LOOK_EVERY).await;
            }
        };
        tokio::join!(tell, join_all(askers));
        sleep(LOOK_EVERY).await;
    }
}

async fn ask(ipc: &Ipc, (nth, shards): (u32, u32), data: &str, counts: &Counts, file: &Path) {
    let mut shard = nth % shards;
    while file.exists() {
        let answer = ipc.request::<usize>(Target::Shard(ShardId(shard)), EVENT, &data).await;
        let count = if answer == Ok(BYTES) { &counts.answered } else { &counts.failed };
        count.fetch_add(1, Ordering::Relaxed);
        shard = (shard + 1) % shards;
    }
}
