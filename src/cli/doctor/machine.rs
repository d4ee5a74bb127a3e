//! What the machine gives a node.

use std::{
    io::{self, Write as _},
    path::Path,
    time::Duration,
};

use rustix::fs::statvfs;
use rustix::process::{Resource, getrlimit};
use tokio::{task::spawn_blocking, time::Instant};

use super::Finding;
use crate::config::Config;
use crate::transport::UdpBuffers;

/// Writes that are timed.
const WRITES: usize = 30;

/// An election waits 250 ms at least, and every entry waits for the disk: half of it is too slow.
const BARRIER_MAX: Duration = Duration::from_millis(125);

/// What a day's log and its snapshots take, with room to spare.
const FREE_BYTES_MIN: u64 = 1 << 30;

/// A node has a connection for each shard and each peer, and 1,024 for HTTP.
const DESCRIPTORS_MIN: u64 = 4_096;

/// Whether the data directory can be written, how long its disk takes for a barrier, and what is free.
pub(super) async fn disk(config: &Config) -> Vec<Finding> {
    let directory = config.data_dir.clone();
    let looked = spawn_blocking(move || {
        // One that is not there yet is made by the node: its parent is what counts.
        let at = directory.ancestors().find(|path| path.is_dir()).unwrap_or_else(|| Path::new("."));
        (measure(at), free(at), at.to_owned())
    });
    let Ok((barrier, free, at)) = looked.await else {
        return vec![Finding::skipped("disk", "could not be looked at")];
    };
    let at = at.display();
    let barrier = match barrier {
        Err(error) => Finding::failure(
            "disk",
            format!("can't write in {at}: {error}"),
            "let the node's user write there, or choose another --data-dir",
        ),
        Ok((middle, worst)) => {
            let detail =
                format!("{at}: a barrier takes {middle:.1?}, at most {worst:.1?} of {WRITES}");
            if worst > BARRIER_MAX {
                let fix = "use a local SSD: what is slower than 125 ms costs elections";
                Finding::warning("disk", detail, fix)
            } else {
                Finding::ok("disk", detail)
            }
        }
    };
    let free = match free {
        Ok(bytes) if bytes < FREE_BYTES_MIN => Finding::warning(
            "free space",
            format!("{} MiB", bytes >> 20),
            "make room for a GiB at least: a full disk ends the node",
        ),
        Ok(bytes) => Finding::ok("free space", format!("{} GiB", bytes >> 30)),
        Err(error) => Finding::skipped("free space", error.to_string()),
    };
    vec![barrier, free]
}

/// How long it takes until what is written is durable: the middle, and the worst.
fn measure(directory: &Path) -> io::Result<(Duration, Duration)> {
    // Without a name, so that nothing stays behind.
    let mut file = tempfile::tempfile_in(directory)?;
    let timed = (0..WRITES).map(|_| {
        let began = Instant::now();
        file.write_all(&[0; 4_096])?;
        file.sync_data()?;
        Ok(began.elapsed())
    });
    let timed: io::Result<Vec<_>> = timed.collect();
    let mut timed = timed?;
    timed.sort_unstable();
    Ok((timed[WRITES / 2], timed[WRITES - 1]))
}

fn free(directory: &Path) -> io::Result<u64> {
    let stat = statvfs(directory)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

pub(super) fn udp_buffers() -> Finding {
    match UdpBuffers::of_this_machine() {
        Err(error) => Finding::skipped("udp buffers", error.to_string()),
        Ok(buffers) if buffers.suffice() => {
            Finding::ok("udp buffers", format!("{} KiB", buffers.smaller() >> 10))
        }
        Ok(buffers) => Finding::warning(
            "udp buffers",
            format!("{} KiB: bursts between nodes will be lost", buffers.smaller() >> 10),
            format!(
                "on the host: sysctl -w net.core.rmem_max={0} net.core.wmem_max={0}",
                UdpBuffers::ASKED
            ),
        ),
    }
}

pub(super) fn descriptors() -> Finding {
    match getrlimit(Resource::Nofile).current {
        Some(limit) if limit < DESCRIPTORS_MIN => Finding::warning(
            "descriptors",
            format!("{limit} at once"),
            format!("raise the limit to {DESCRIPTORS_MIN} (LimitNOFILE=, ulimit -n)"),
        ),
        Some(limit) => Finding::ok("descriptors", format!("{limit} at once")),
        None => Finding::ok("descriptors", "without limit"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::Verdict;
    use crate::config::{Sources, load};

    fn config(directory: &Path) -> Config {
        let mut config = load(&Sources::default()).unwrap().config;
        config.data_dir = directory.to_owned();
        config
    }

    #[tokio::test]
    async fn a_directory_that_is_not_there_yet_is_judged_by_its_parent_and_left_alone() {
        let parent = tempfile::tempdir().unwrap();

        let found = disk(&config(&parent.path().join("a/b"))).await;

        assert_ne!(found[0].verdict, Verdict::Failure, "{found:?}");
        assert!(found[0].detail.contains("a barrier takes"), "{found:?}");
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
    }
}
