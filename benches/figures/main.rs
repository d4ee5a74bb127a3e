//! The figures of the README, side by side in one run: `cargo bench --bench figures`.
//!
//! A table on stdout; `--json FILE` writes the same as JSON. `--only` takes groups of figures, `--rounds` repeats each
//! measurement. Those of the cluster take some ten minutes: `--only scale,commits,leader-kill,resume,ipc,kv`. They keep their
//! data in `TMPDIR`, which has to be on a disk for their commits to mean anything. Node and simulator share the machine,
//! so what the simulator costs is part of every figure but the resident memory.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark prints")]
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

mod child;
mod cluster;
mod commits;
mod etcd;
mod group;
mod ipc;
mod kv;
mod leader_kill;
mod member;
mod memory;
mod mortal;
mod ports;
mod process;
mod recording;
mod replay;
mod report;
mod resume;
mod scale;
mod server;
mod starts;
mod throughput;
mod volume;

use std::{fs, path::PathBuf, process::ExitCode};

use clap::{Parser, ValueEnum};

use report::Report;

/// What a benchmark may fail with: it stops, and says why.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Measures apolo.
#[derive(Debug, Parser)]
#[command(name = "figures", after_help = MEANING)]
struct Options {
    /// Only these groups.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Group>,
    /// How often each measurement is repeated.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Writes the figures to this file, as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Only repeats this run of the throughput, for a profiler: bare-typed, bare-raw, apolo-typed or apolo-raw.
    #[arg(long, hide = true)]
    profile: Option<String>,
    /// Runs as a member of a Raft group, whose seat this is.
    #[arg(long, hide = true)]
    member: Option<String>,
    /// Runs as one of the processes that send each other messages, whose seat this is.
    #[arg(long, hide = true)]
    peer: Option<String>,
    /// What cargo passes to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

const MEANING: &str = "\
What the figures of the cluster mean:
  commits      a proposal of some 100 bytes, until a quorum has it on disk and the leader has applied it: three processes
               with QUIC, mutual TLS and sled. etcd beside it: a put of as many bytes to three processes with its default
               durability, plain HTTP between them, from clients through its JSON gateway, which costs it a request each.
               The two take turns.
  leader-kill  from kill -9 of the leader's process until a write through one of the other two is committed: both are
               asked every 10 ms. lan beside etcd's defaults, fast beside etcd with 100/500 ms and pre-vote.
  resume       three nodes, a simulated Discord, 100 shards on a node that does not lead. From kill -9 of it: the leader
               proposes its loss once no lease can be in force, commits it, the new owners connect and send RESUME, and
               hand the replay to the handlers up to RESUMED.
  ipc          a request from one process to another and its answer, which is what was sent: apolo between two nodes with a
               simulated Discord, over mutual TLS; Redis as the seed used it, a message to the channel of each shard, and
               NATS' own requests, both over plain TCP to a server beside; quinn alone, with mutual TLS and a stream for
               each. They take turns; a ratio is of two turns in one round. Then broadcasts to 1,000 shards on five nodes,
               each to the end of its last handler, and the letters that each brought over a link.
  kv           a put of 128 bytes under one of as many keys as there are writers: apolo as in commits, through the queue of
               its key-value; etcd as in commits; one Redis with appendfsync always, over one connection. They take turns.
  scale        the time that the planner and the state take with 1,000 nodes and 16,384 shards, the bytes of a snapshot,
               and what the checkpoints of a tick put into the log if every shard has progressed.";

/// Groups of figures.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Group {
    /// Events a second from the socket to a handler, beside a bare twilight-gateway loop.
    Throughput,
    /// Resident memory of an idle shard.
    Memory,
    /// From start to READY, and from a kill to RESUMED, with 64 shards.
    Starts,
    /// 448 shards with 1,000,000 guilds.
    Volume,
    /// Latency and rate of commits with 1, 64 and 256 writers, three nodes beside three etcds (needs `etcd` 3.4).
    Commits,
    /// From `kill -9` of the leader to the first committed write, profiles lan and fast, beside etcd (needs `etcd` 3.4).
    LeaderKill,
    /// From `kill -9` of a node that owns 100 shards to their RESUMED elsewhere, phase by phase.
    Resume,
    /// Requests between nodes beside Redis, NATS and bare quinn (needs `redis-server` and `nats-server`), and broadcasts.
    Ipc,
    /// Durable puts of the key-value beside etcd and Redis (needs `etcd` 3.4 and `redis-server`), and local reads.
    Kv,
    /// Planner, state and log of 1,000 nodes with 16,384 shards: pure functions on one core.
    Scale,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if let Some(seat) = &options.member {
        return told(member::run(seat));
    }
    if let Some(seat) = &options.peer {
        return told(ipc::run(seat));
    }
    told(measure(&options).map(|report| println!("{}", report.table())))
}

fn told(done: Result<(), Failure>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("figures: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn measure(options: &Options) -> Result<Report, Failure> {
    let mut report = Report::default();
    let wanted = |group| options.only.is_empty() || options.only.contains(&group);
    let rounds = options.rounds;
    if let Some(name) = &options.profile {
        throughput::profile(&mut report, name, rounds)?;
        return Ok(report);
    }
    // The children's memory is measured first, before this process has any of its own to press upon them.
    if wanted(Group::Memory) {
        memory::measure(&mut report, rounds)?;
    }
    if wanted(Group::Throughput) {
        throughput::measure(&mut report, rounds)?;
    }
    if wanted(Group::Starts) {
        starts::measure(&mut report, rounds)?;
    }
    if wanted(Group::Volume) {
        volume::measure(&mut report)?;
    }
    if wanted(Group::Scale) {
        scale::measure(&mut report, rounds)?;
    }
    if wanted(Group::Commits) {
        commits::measure(&mut report, rounds)?;
    }
    if wanted(Group::LeaderKill) {
        leader_kill::measure(&mut report, rounds)?;
    }
    if wanted(Group::Resume) {
        resume::measure(&mut report, rounds)?;
    }
    if wanted(Group::Ipc) {
        ipc::measure(&mut report, rounds)?;
    }
    if wanted(Group::Kv) {
        kv::measure(&mut report, rounds)?;
    }
    if let Some(file) = &options.json {
        fs::write(file, report.json()?)?;
    }
    Ok(report)
}
