//! A larger bot: it answers every slash command with what it has counted in that guild.
//!
//! Against the simulator, in two terminals:
//!
//! ```text
//! apolo simulate --port 9900
//! DISCORD_API=http://127.0.0.1:9900/api/v10 DISCORD_TOKEN=any cargo run --example slash_command
//! ```

#![expect(clippy::print_stdout, reason = "an example prints")]

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use apolo::{
    Apolo, Bot, Context, Event, EventTypeFlags, GuildId, HandlerResult, Notice,
    twilight_model::{
        application::interaction::{Interaction, InteractionType},
        gateway::event::DispatchEvent,
    },
};
use serde_json::json;

/// Interaction response type 4: answer with a message (Discord's interaction docs).
const ANSWER_WITH_MESSAGE: u8 = 4;

struct Counter {
    api: String,
    client: reqwest::Client,
    events: Mutex<HashMap<GuildId, u64>>,
}

impl Counter {
    fn new() -> Self {
        let api = std::env::var("DISCORD_API")
            .unwrap_or_else(|_| "https://discord.com/api/v10".to_owned());
        Self { api, client: reqwest::Client::new(), events: Mutex::default() }
    }

    /// Counts an event of a guild and returns how many there were.
    fn count(&self, guild: GuildId) -> u64 {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        let count = events.entry(guild).or_default();
        *count += 1;
        *count
    }

    /// Answers within the three seconds that Discord gives. The interaction's own token is enough.
    async fn answer(&self, interaction: &Interaction, text: String) -> HandlerResult {
        let Interaction { id, token, .. } = interaction;
        let url = format!("{}/interactions/{id}/{token}/callback", self.api);
        let body = json!({"type": ANSWER_WITH_MESSAGE, "data": {"content": text}});
        self.client.post(url).json(&body).send().await?.error_for_status()?;
        Ok(())
    }
}

impl Bot for Counter {
    async fn event(&self, context: Context, event: Event) -> HandlerResult {
        let count = event.guild().map_or(0, |guild| self.count(guild));
        match event.typed() {
            Some(DispatchEvent::InteractionCreate(interaction))
                if interaction.kind == InteractionType::ApplicationCommand =>
            {
                let text = format!("{count} events of this guild, on shard {}", context.shard());
                self.answer(interaction, text).await
            }
            _ => Ok(()),
        }
    }

    async fn notice(&self, context: Context, notice: Notice) {
        println!("shard {}: {notice:?}", context.shard());
    }

    fn events(&self) -> EventTypeFlags {
        EventTypeFlags::INTERACTION_CREATE
            | EventTypeFlags::MESSAGE_CREATE
            | EventTypeFlags::GUILD_CREATE
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    Apolo::from_env()?.run_bot(Counter::new()).await?;
    Ok(())
}
