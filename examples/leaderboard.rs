//! A leaderboard over all shards, on however many nodes: each counts its own messages, and one asks them all.
//!
//! `DISCORD_API=http://127.0.0.1:9900/api/v10 DISCORD_TOKEN=any cargo run --example leaderboard`, beside
//! `apolo simulate --port 9900`.

#![expect(clippy::print_stdout, reason = "an example prints")]

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use apolo::{
    Apolo, Context, Event, ShardId,
    bot::Notice,
    ipc::{Answers, Call, Receiver},
    twilight_model::gateway::event::DispatchEvent,
};

/// A user's name and their messages.
type Score = (String, u64);

/// The messages of each shard that runs here.
#[derive(Clone, Default)]
struct Scores(Arc<Mutex<BTreeMap<ShardId, BTreeMap<String, u64>>>>);

const SHOWN: usize = 5;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let scores = Scores::default();
    let (counting, asked) = (scores.clone(), scores.clone());
    Apolo::from_env()?
        .on_event(move |context, event| {
            counting.count(&context, &event);
            async {}
        })
        .on_notice(|context, notice| async move {
            if context.shard() == ShardId(0) && matches!(notice, Notice::ShardReady { .. }) {
                tokio::spawn(show(context));
            }
        })
        // Runs for every shard, on the node that it runs on, whoever asks.
        .register_handler("top", move |call: Call, (): ()| {
            let top = asked.top(call.receiver);
            async move { Ok(top) }
        })
        .run()
        .await?;
    Ok(())
}

/// Asks all shards now and then, for as long as this one runs here.
async fn show(context: Context) {
    let gone = context.cancelled();
    while gone.run_until_cancelled(tokio::time::sleep(Duration::from_secs(5))).await.is_some() {
        let asked: Result<Answers<Vec<Score>>, _> =
            context.ipc().broadcast_request("top", &()).await;
        match asked {
            Ok(all) => {
                let best = best(all.answers.into_values().flatten());
                println!("{best:?}; {} shards did not answer", all.failed.len());
            }
            Err(error) => println!("nobody was asked: {error}"),
        }
    }
}

impl Scores {
    fn count(&self, context: &Context, event: &Event) {
        if let Some(DispatchEvent::MessageCreate(message)) = event.typed() {
            let mut scores = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let shard = scores.entry(context.shard()).or_default();
            *shard.entry(message.author.name.clone()).or_default() += 1;
        }
    }

    fn top(&self, receiver: Receiver) -> Vec<Score> {
        let scores = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match receiver {
            Receiver::Shard(shard) => best(scores.get(&shard).cloned().unwrap_or_default()),
            Receiver::Node(_) => best(scores.values().flat_map(Clone::clone)),
        }
    }
}

fn best(scores: impl IntoIterator<Item = Score>) -> Vec<Score> {
    let mut sums = BTreeMap::new();
    for (name, count) in scores {
        *sums.entry(name).or_default() += count;
    }
    let mut best: Vec<Score> = sums.into_iter().collect();
    best.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    best.truncate(SHOWN);
    best
}
