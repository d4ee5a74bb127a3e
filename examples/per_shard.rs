//! What each shard of a bot often does with Redis, without: it answers the others, tells them what has changed, and keeps a
//! leaderboard with all of them.
//!
//! `DISCORD_API=http://127.0.0.1:9900/api/v10 DISCORD_TOKEN=any cargo run --example per_shard`, beside
//! `apolo simulate --port 9900`.

#![expect(clippy::print_stdout, reason = "an example prints")]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use apolo::{
    Apolo, Context, Event, GuildId, HandlerResult, ShardId,
    bot::Notice,
    ipc::{Answers, Call, Receiver},
    twilight_model::gateway::{event::DispatchEvent, payload::incoming::GuildCreate},
};

/// The guilds of each shard that runs here.
#[derive(Clone, Default)]
struct Cache(Arc<Mutex<BTreeMap<ShardId, BTreeSet<GuildId>>>>);

impl Cache {
    fn guilds(&self) -> MutexGuard<'_, BTreeMap<ShardId, BTreeSet<GuildId>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, receiver: Receiver) -> usize {
        let guilds = self.guilds();
        match receiver {
            Receiver::Shard(shard) => guilds.get(&shard).map_or(0, BTreeSet::len),
            Receiver::Node(_) => guilds.values().map(BTreeSet::len).sum(),
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let cache = Cache::default();
    let (filled, counted) = (cache.clone(), cache);
    Apolo::from_env()?
        // Both run for every shard, on the node that it runs on, whoever asks.
        .register_handler("get-guild-count", move |call: Call, (): ()| {
            let count = counted.count(call.receiver);
            async move { Ok(count) }
        })
        .register_handler(
            "guild-created",
            |call: Call, (guild, members): (GuildId, u64)| async move {
                if call.receiver == Receiver::Shard(ShardId(0)) {
                    println!("guild {guild} has joined, with {members} members");
                }
                Ok(())
            },
        )
        .on_event(move |context, event| guild_created(filled.clone(), context, event))
        .on_notice(|context, notice| async move {
            if context.shard() == ShardId(0) && matches!(notice, Notice::ShardReady { .. }) {
                tokio::spawn(show(context));
            }
        })
        .run()
        .await?;
    Ok(())
}

async fn guild_created(cache: Cache, context: Context, event: Event) -> HandlerResult {
    let Some(DispatchEvent::GuildCreate(created)) = event.typed() else { return Ok(()) };
    let GuildCreate::Available(guild) = &**created else { return Ok(()) };
    let (id, members) = (GuildId(guild.id.get()), guild.member_count.unwrap_or(0));
    let is_new = cache.guilds().entry(context.shard()).or_default().insert(id);
    // READY brings all guilds that were there before.
    if is_new && guild.joined_at.is_some_and(|at| is_fresh(at.as_secs())) {
        let board = context.kv().namespace("guilds").leaderboard("largest");
        board.set(&id.to_string(), i64::try_from(members)?).await?;
        context.ipc().broadcast("guild-created", &(id, members))?;
    }
    Ok(())
}

fn is_fresh(joined: i64) -> bool {
    let now = i64::try_from(apolo::UnixMillis::now().0 / 1_000).unwrap_or(i64::MAX);
    now - joined < 60
}

/// Asks all shards now and then, for as long as this one runs here.
async fn show(context: Context) {
    let gone = context.cancelled();
    while gone.run_until_cancelled(tokio::time::sleep(Duration::from_secs(2))).await.is_some() {
        let asked: Result<Answers<usize>, _> =
            context.ipc().broadcast_request("get-guild-count", &()).await;
        match asked {
            Ok(all) => {
                let shards = all.answers.len();
                println!("{} guilds on {shards} shards", all.answers.into_values().sum::<usize>());
            }
            Err(error) => println!("nobody was asked: {error}"),
        }
    }
}
