//! What shards of a bot share besides counts: users' sessions that several shards update, a cache that all of them forget
//! from, and what teams own.
//!
//! `DISCORD_API=http://127.0.0.1:9900/api/v10 DISCORD_TOKEN=any cargo run --example shared_state`, beside
//! `apolo simulate --port 9900`.

#![expect(clippy::print_stdout, reason = "an example prints")]

use std::{
    collections::BTreeMap,
    error::Error,
    sync::{Arc, Mutex, PoisonError},
};

use apolo::{
    Apolo, Context, ShardId,
    bot::Notice,
    ipc::{Answers, Call},
    kv::{Condition, KvError, Namespace, UserRefusal},
};
use serde::{Deserialize, Serialize};

const USER: u64 = 7;

/// What the bot knows of a user, wherever that user writes.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
struct Session {
    commands: u32,
}

/// What this node has looked up, so that it need not look again.
#[derive(Clone, Default)]
struct Cache(Arc<Mutex<BTreeMap<u64, Session>>>);

impl Cache {
    fn forget(&self, user: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&user);
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let cache = Cache::default();
    Apolo::from_env()?
        .register_handler("forget-user", move |_: Call, user: u64| {
            cache.forget(user);
            async { Ok(true) }
        })
        .on_notice(|context, notice| async move {
            if context.shard() == ShardId(0) && matches!(notice, Notice::ShardReady { .. }) {
                tokio::spawn(async move {
                    if let Err(error) = show(context).await {
                        println!("it failed: {error}");
                    }
                });
            }
        })
        .run()
        .await?;
    Ok(())
}

async fn show(context: Context) -> Result<(), Box<dyn Error + Send + Sync>> {
    let sessions = context.kv().namespace("sessions");
    sessions.delete(&USER.to_string()).await?;
    // At once, as from several shards: none of the two is lost.
    let (first, second) = tokio::join!(update(&sessions, USER), update(&sessions, USER));
    let commands = first?.commands.max(second?.commands);

    // Every shard answers once it has forgotten what it knew.
    let told: Answers<bool> = context.ipc().broadcast_request("forget-user", &USER).await?;
    println!("user {USER} has used {commands} commands, and {} shards know", told.answers.len());

    // Added up where they are, so nobody overwrites what another has added.
    let teams = context.kv().namespace("teams").leaderboard("balance");
    teams.set("red", 100).await?;
    tokio::try_join!(teams.add("red", -30), teams.add("red", 12), teams.add("blue", 30))?;
    for (team, balance) in teams.top(10).await? {
        println!("team {team} owns {balance}");
    }
    teams.remove("blue").await?;
    Ok(())
}

/// Counts a command of a user's: on what was read, or else on what is there by now.
async fn update(sessions: &Namespace, user: u64) -> Result<Session, Box<dyn Error + Send + Sync>> {
    let key = user.to_string();
    loop {
        let found = sessions.get(&key).await?;
        let (mut session, expected) = match &found {
            None => (Session::default(), Condition::Absent),
            Some(found) => {
                (serde_json::from_slice(&found.value)?, Condition::Revision(found.modified))
            }
        };
        session.commands += 1;
        let value = serde_json::to_vec(&session)?;
        match sessions.compare_and_set(&key, expected, value).await {
            Ok(_) => return Ok(session),
            Err(KvError::Refused(UserRefusal::Mismatch { .. })) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
