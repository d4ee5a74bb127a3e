//! A fatal close code, from the first attempt to the operator's word.

use std::process::{Command, Output};

use apolo::{
    Notice, ShardId,
    bot::ClosureBot,
    simulator::{Fault, Injection, When},
};
use tempfile::TempDir;
use tokio::time::timeout;

use super::{DEADLINE, discord, ready, start, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_fatal_close_code_costs_one_attempt_and_waits_for_the_operator() {
    let discord = discord(4).await;
    discord
        .inject(Fault::Close { code: Some(4004), when: When::Identify })
        .expect("it can be injected");
    let directory = TempDir::new().expect("a directory");
    let (told, mut dead) = tokio::sync::mpsc::unbounded_channel();
    let bot = ClosureBot::default().on_notice(move |context, notice| {
        if matches!(notice, Notice::ShardDead { .. }) {
            let _ = told.send(context.shard());
        }
        async {}
    });

    let node = start(&discord, directory.path(), bot).await.expect("it starts");
    let first = timeout(DEADLINE, dead.recv()).await.expect("it is told").expect("open");
    until("the halt is known", || node.state().ledger().halted().is_some()).await;

    assert_eq!(node.state().ledger().halted().map(|halted| halted.shard), Some(first));
    assert_eq!(node.state().ledger().granted(), 1, "the first IDENTIFY goes alone");

    discord.clear_faults();
    let lifted = unhalt(&directory).await;
    until("four shards ready", || ready(&node) == 4).await;
    let again = unhalt(&directory).await;

    assert!(
        lifted.contains(&format!("lifted: shard {first} had been closed with 4004")),
        "{lifted}"
    );
    assert!(again.contains("nothing was halted"), "{again}");
    assert_eq!(node.state().ledger().halted(), None);
    assert_eq!(discord.truth().identifies.len(), 5, "one that was refused, and one for each shard");
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fatal_close_code_halts_identifies_while_handlers_still_run() {
    let discord = discord(2).await;
    let directory = TempDir::new().expect("a directory");
    let bot = ClosureBot::default().on_event(|context, event| async move {
        // Until the node stops, that is: the handlers of the closed shard outlast its connection.
        if event.name() != "READY" {
            context.cancelled().cancelled().await;
        }
    });
    let node = start(&discord, directory.path(), bot).await.expect("it starts");
    until("two shards ready", || ready(&node) == 2).await;

    let fatal = Fault::Close { code: Some(4011), when: When::Now };
    discord.inject(Injection::from(fatal).on([1])).expect("it can be injected");
    until("the halt is known", || node.state().ledger().halted().is_some()).await;

    assert_eq!(node.state().ledger().halted().map(|halted| halted.shard), Some(ShardId(1)));
    let runs = node.board().shards().iter().any(|now| now.shard == ShardId(1));
    assert!(runs, "the halt waited for the handlers");
    drop(node);
}

/// `apolo unhalt`, as the operator types it beside the node.
async fn unhalt(directory: &TempDir) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_apolo"));
    command.env_clear().args(["unhalt", "--data-dir"]).arg(directory.path());
    let output = tokio::task::spawn_blocking(move || command.output()).await;
    let Output { status, stdout, stderr } =
        output.expect("it does not panic").expect("the binary was built for this test");
    let said = String::from_utf8([stdout, stderr].concat()).expect("it is text");
    assert!(status.success(), "{said}");
    said
}
