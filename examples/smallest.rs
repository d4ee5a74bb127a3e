//! The smallest bot: it prints every message that it sees.
//!
//! ```text
//! DISCORD_TOKEN=… DISCORD_INTENTS=GUILDS,GUILD_MESSAGES,MESSAGE_CONTENT cargo run --example smallest
//! ```

#![expect(clippy::print_stdout, reason = "an example prints")]

use apolo::{Apolo, twilight_model::gateway::event::DispatchEvent};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let bot = Apolo::from_env()?.on_event(|context, event| async move {
        if let Some(DispatchEvent::MessageCreate(message)) = event.typed() {
            println!("shard {}: {}: {}", context.shard(), message.author.name, message.content);
        }
    });
    bot.run().await?;
    Ok(())
}
