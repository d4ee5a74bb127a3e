//! Threads of their own for what keeps the cluster together.

use std::io;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use tokio_util::task::AbortOnDropHandle;

/// Raft, leases and the sockets take little time, but want it soon: one is free while the other encrypts.
const COUNT: usize = 2;

/// Runs Raft, leases, the loops of the leader and the agent, and the way to the other nodes. A bot's handlers, its events
/// and its messages run elsewhere: a handler that blocks or a storm of messages then costs the node its shards' time, and
/// not its lease or the cluster its leader. The system shares the processor fairly between threads; a runtime's tasks wait
/// for each other.
#[derive(Debug)]
pub(super) struct Threads(Option<Runtime>);

impl Threads {
    pub(super) fn start() -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(COUNT)
            .thread_name("apolo-core")
            .enable_all()
            .build()?;
        Ok(Self(Some(runtime)))
    }

    pub(super) fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.0.as_ref().expect("it is there until it is dropped").spawn(task)
    }

    /// Runs `task` there, for as long as it is waited for.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> T {
        match AbortOnDropHandle::new(self.spawn(task)).await {
            Ok(done) => done,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}

impl Drop for Threads {
    /// In the background, since a runtime may not be waited for from within another.
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
