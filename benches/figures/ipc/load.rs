//! Requesters that each send one request after the other.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tokio::{task::JoinSet, time::timeout};

use crate::Failure;

/// A request without an answer by then has failed, and with it the run: a lost one must not look like a fast one.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// One side of a way to ask another process.
pub(super) trait Requester: Clone + Send + Sync + 'static {
    /// Sends `data`, and waits for the same. `nth` tells the requesters apart that ask at once.
    fn request(
        &self,
        nth: usize,
        data: &str,
    ) -> impl Future<Output = Result<String, Failure>> + Send;
}

/// What is asked for, how often at once, and for how long.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Load {
    pub(super) concurrency: usize,
    pub(super) bytes: usize,
    pub(super) span: Duration,
}

/// What became of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Took {
    pub(super) micros: Vec<u32>,
    /// From the first request to the last answer.
    pub(super) span: Duration,
}

impl Load {
    pub(super) async fn run(self, requester: impl Requester) -> Result<Took, Failure> {
        let data: Arc<str> = "x".repeat(self.bytes).into();
        let began = Instant::now();
        let mut tasks = JoinSet::new();
        for nth in 0..self.concurrency {
            let (requester, data) = (requester.clone(), Arc::clone(&data));
            tasks.spawn(one_after_the_other(requester, nth, data, began + self.span));
        }
        let mut micros = Vec::new();
        while let Some(took) = tasks.join_next().await {
            micros.extend(took??);
        }
        Ok(Took { micros, span: began.elapsed() })
    }
}

async fn one_after_the_other(
    requester: impl Requester,
    nth: usize,
    data: Arc<str>,
    until: Instant,
) -> Result<Vec<u32>, Failure> {
    let mut micros = Vec::new();
    while Instant::now() < until {
        let began = Instant::now();
        let answer = timeout(ANSWER_WITHIN, requester.request(nth, &data)).await??;
        let took = began.elapsed();
        if *answer != *data {
            return Err("an answer to something else".into());
        }
        micros.push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
    }
    Ok(micros)
}
