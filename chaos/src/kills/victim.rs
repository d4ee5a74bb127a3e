//! The process that is killed: a bot on apolo's library that writes down every event it has handled.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    path::PathBuf,
    sync::Once,
};

use apolo::{
    Apolo, Bot, Context, Event, HandlerResult, NodeError, Notice,
    config::{Config, ConfigErrors, Environment, Sources, load},
    ipc::Call,
    telemetry,
    twilight_model::gateway::event::DispatchEvent,
};
use thiserror::Error;

use super::{Record, storm};

/// Where the victim writes.
#[derive(Clone, Debug, clap::Args)]
pub struct VictimOptions {
    /// The file of this life's records.
    #[arg(long)]
    records: PathBuf,
    /// While this file is there, a shard asks all others as fast as it can.
    #[arg(long)]
    storm: Option<PathBuf>,
}

/// Why the victim did not run.
#[derive(Debug, Error)]
pub enum VictimError {
    /// The environment.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// The node.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The records.
    #[error("write records: {0}")]
    Records(#[from] io::Error),
}

/// Runs until it is killed, or told to stop. Everything but the records comes from the environment, as for any bot.
///
/// # Errors
///
/// [`VictimError`].
pub async fn victim(options: &VictimOptions) -> Result<(), VictimError> {
    let config = configuration()?;
    // A second subscriber can't be there: this is the process's first act.
    let _ = telemetry::start_logs(&config, io::stderr);
    let file = OpenOptions::new().create(true).append(true).open(&options.records)?;
    let witness = Witness { file, storm: options.storm.clone(), storms: Once::new() };
    let apolo = Apolo::new(config)
        .register_handler(storm::EVENT, |_: Call, data: String| async move { Ok(data.len()) });
    Ok(apolo.run_bot(witness).await?)
}

fn configuration() -> Result<Config, ConfigErrors> {
    let sources = Sources { environment: Environment::of_process(), ..Sources::default() };
    Ok(load(&sources)?.config)
}

/// Writes down what it has handled.
#[derive(Debug)]
struct Witness {
    file: File,
    storm: Option<PathBuf>,
    /// The first event says which shard is there to storm.
    storms: Once,
}

impl Witness {
    fn write(&self, record: &Record) -> io::Result<()> {
        (&self.file).write_all(record.line().as_bytes())
    }
}

impl Bot for Witness {
    async fn event(&self, context: Context, event: Event) -> HandlerResult {
        if let Some(file) = &self.storm {
            self.storms.call_once(|| {
                let (ipc, shards) = (context.ipc().clone(), context.total().get());
                tokio::spawn(storm::watch(ipc, shards, file.clone()));
            });
        }
        let (shard, session) = (context.shard().0, context.session().0);
        if let Some(DispatchEvent::Ready(ready)) = event.typed() {
            self.write(&Record::Session { shard, session, id: ready.session_id.clone() })?;
        }
        let (sequence, redelivered) = (context.sequence().0, context.redelivered());
        self.write(&Record::Event { shard, session, sequence, redelivered })?;
        Ok(())
    }

    async fn notice(&self, context: Context, notice: Notice) {
        if let Notice::SessionLost(range) = notice {
            let (shard, session, after) = (context.shard().0, range.session.0, range.after.0);
            let _ = self.write(&Record::Lost { shard, session, after });
        }
    }
}
