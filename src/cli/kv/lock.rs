//! `apolo kv lock`: a job that runs on one node at a time.

use std::{
    process::{Child, Command, ExitStatus},
    time::Duration,
};

use tokio::time::{Instant, sleep};

use super::{Asking, Common, millis, span};
use crate::cli::failure::{Again, Failure};
use crate::http::KvAsk;
use crate::lease::{Clock, Moment};

/// Between two looks at whether the command has ended.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Between two attempts to take a lock that another holds.
const TRY_EVERY: Duration = Duration::from_secs(1);

/// The shortest time to live: three renewals are made within it.
const TTL_MIN: Duration = Duration::from_secs(3);

#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  apolo kv lock nightly -- ./backup.sh              fails at once where another has the lock
  apolo kv lock nightly --wait 10m -- ./backup.sh   waits for it

The command finds the lock's token in APOLO_LOCK_TOKEN. It grows with every acquisition: whatever
the command writes elsewhere can be refused there once a greater one was seen. If the lock is lost,
the command is killed (what it has started is not), and this fails. If this is killed, the command goes on, without the lock.")]
pub(super) struct Arguments {
    /// The lock's name: the job's
    name: String,
    /// How long it stays taken after the last renewal, at least 3s
    #[arg(long, default_value = "15s", value_name = "TIME", value_parser = span)]
    ttl: Duration,
    /// How long to wait for it
    #[arg(long, value_name = "TIME", value_parser = span)]
    wait: Option<Duration>,
    #[command(flatten)]
    common: Common,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let Arguments { name, ttl, wait, common, command } = arguments;
    if ttl < TTL_MIN {
        return Err(Failure::usage("a lock's --ttl is at least 3s")
            .help("It is renewed three times within it."));
    }
    let asking = Asking::new(common)?;
    let mut held = acquire(&asking, name, ttl, wait.unwrap_or_default()).await?;
    let ended = held.watch_over(&command).await;
    let release = KvAsk::Release { key: held.name.clone(), token: held.token };
    let released = asking.change(release).await;
    let status = ended?;
    if !status.success() {
        return Err(Failure::failed(format!("{} ended with {status}", command.join(" "))));
    }
    released.map(drop)
}

/// A lock that this process has.
struct Held<'a> {
    asking: &'a Asking,
    name: String,
    token: u64,
    ttl: Duration,
    /// Until when nobody else has it, counted from when it was asked for.
    until: Moment,
    renew_at: Moment,
}

/// It goes on in a suspend, in which the lock ends.
const CLOCK: Clock = Clock::Boottime;

/// The holder counts this part less than the leader, for clocks that do not run equally fast.
const MARGIN: u32 = 16;

async fn acquire(
    asking: &Asking,
    name: String,
    ttl: Duration,
    wait: Duration,
) -> Result<Held<'_>, Failure> {
    let deadline = Instant::now() + wait;
    let holder = format!("cli-{}-{:08x}", std::process::id(), rand::random::<u32>());
    loop {
        let sent = CLOCK.now();
        let ask = KvAsk::Acquire { key: name.clone(), holder: holder.clone(), ttl_ms: millis(ttl) };
        match asking.change(ask).await {
            Ok(done) => {
                let token = done.token.ok_or_else(|| {
                    Failure::failed("the node answered what this version can't read")
                })?;
                let (until, renew_at) = (sent + (ttl - ttl / MARGIN), sent + ttl / 3);
                return Ok(Held { asking, name, token, ttl, until, renew_at });
            }
            Err(failure) if failure.again() == Again::Same => return Err(failure),
            Err(failure) if Instant::now() >= deadline => return Err(failure),
            Err(_) => sleep(TRY_EVERY.min(deadline - Instant::now())).await,
        }
    }
}

impl Held<'_> {
    /// Runs the command to its end, or to the lock's.
    async fn watch_over(&mut self, command: &[String]) -> Result<ExitStatus, Failure> {
        let mut child = self.start(command)?;
        loop {
            match child.try_wait() {
                Ok(Some(status)) => return Ok(status),
                Ok(None) => {}
                Err(error) => return Err(Failure::failed(format!("can't wait for it: {error}"))),
            }
            if let Err(failure) = self.renew().await {
                // It may have ended by itself meanwhile.
                let _ = child.kill();
                let _ = child.wait();
                return Err(failure);
            }
            sleep(LOOK_EVERY).await;
        }
    }

    fn start(&self, command: &[String]) -> Result<Child, Failure> {
        let [program, arguments @ ..] = command else {
            return Err(Failure::usage("name the command to run behind `--`"));
        };
        let started = Command::new(program)
            .args(arguments)
            .env("APOLO_LOCK_TOKEN", self.token.to_string())
            .spawn();
        started.map_err(|error| Failure::failed(format!("can't run {program}: {error}")))
    }

    async fn renew(&mut self) -> Result<(), Failure> {
        let sent = CLOCK.now();
        if sent < self.renew_at {
            return Ok(());
        }
        let (key, token) = (self.name.clone(), self.token);
        let ask = KvAsk::Renew { key, token, ttl_ms: millis(self.ttl) };
        let left = self.until.since(sent);
        match tokio::time::timeout(left, self.asking.change(ask)).await {
            Ok(Ok(_)) => {
                (self.until, self.renew_at) =
                    (sent + (self.ttl - self.ttl / MARGIN), sent + self.ttl / 3);
                Ok(())
            }
            // Somebody else has it, or had.
            Ok(Err(failure)) if failure.again() == Again::AfterChange => Err(self.lost()),
            // The next attempt is made soon, for as long as the lock lasts.
            Ok(Err(_)) if CLOCK.now() < self.until => {
                self.renew_at = sent + TRY_EVERY;
                Ok(())
            }
            Ok(Err(_)) | Err(_) => Err(self.lost()),
        }
    }

    fn lost(&self) -> Failure {
        Failure::failed(format!("the lock {:?} was lost, and the command was killed", self.name))
    }
}
