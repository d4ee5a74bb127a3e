//! A bot in one binary with its node, made to be an image: `docker build --build-arg BOT_DIR=examples/bot .`
//!
//! Without arguments it is the bot, set up by the environment. With arguments it is `apolo`, so that the image's health
//! check and an operator's `docker exec … apolo status` find what they need in the one binary that is there.

use std::{env, error::Error, io, process::ExitCode};

use apolo::{
    Apolo,
    config::{self, Environment, Sources},
    telemetry,
    twilight_model::gateway::event::DispatchEvent,
};

fn main() -> Result<ExitCode, Box<dyn Error>> {
    if env::args_os().len() > 1 {
        return Ok(apolo::cli::run());
    }
    run_bot()?;
    Ok(ExitCode::SUCCESS)
}

#[tokio::main]
async fn run_bot() -> Result<(), Box<dyn Error>> {
    let sources = Sources { environment: Environment::of_process(), ..Sources::default() };
    let config = config::load(&sources)?.config;
    telemetry::start_logs(&config, io::stderr)?;
    let bot = Apolo::new(config).on_event(|context, event| async move {
        if let Some(DispatchEvent::MessageCreate(message)) = event.typed() {
            tracing::info!(shard = %context.shard(), author = %message.author.name, "a message");
        }
    });
    bot.run().await?;
    Ok(())
}
