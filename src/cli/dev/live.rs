//! What `apolo dev` shows while it runs.

use std::{collections::BTreeMap, time::Duration};

use console::Term;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::{Run, picture::Picture};
use crate::agent::ShardNow;
use crate::cli::output::{say, table, thousands};
use crate::model::{ShardId, ShardStatus};
use crate::node::identify_time;

/// Between two drawings on a terminal.
const DRAW_EVERY: Duration = Duration::from_millis(500);

/// Between two lines where there is no terminal.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// Lines of the terminal that are not the table's rows: its head, the sum, the prompt, and what was printed before.
const OTHER_LINES: usize = 9;

/// Shows the start and then the table, until `stop`, the end of the run, or the end of the node.
pub(super) async fn watch(
    run: &Run,
    screen: &Term,
    max_concurrency: u32,
    stop: &CancellationToken,
    limit: Option<Instant>,
) {
    let bar = start_bar(run, screen, max_concurrency);
    let every = if screen.is_term() { DRAW_EVERY } else { TELL_EVERY };
    let mut ticks = interval(Duration::from_millis(100));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut view = Live::new(screen.clone());
    let mut next_draw = Instant::now();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            now = ticks.tick() => {
                if limit.is_some_and(|limit| now >= limit) {
                    break;
                }
                let shards = run.node.board().shards();
                let ready = ready(&shards);
                bar.set_position(ready);
                let up = Some(ready) == bar.length();
                if up && !bar.is_finished() {
                    bar.finish_and_clear();
                    let took = run.started.elapsed().as_secs_f64();
                    // A terminal that is gone ends the run by its signal, not here.
                    let _ = say(format_args!("ready      {ready} shards in {took:.1} s"));
                }
                if now >= next_draw && (bar.is_finished() || !screen.is_term()) {
                    next_draw = now + every;
                    view.draw(run, &shards, now);
                }
            }
        }
    }
    bar.finish_and_clear();
    view.picture.clear();
}

fn start_bar(run: &Run, screen: &Term, max_concurrency: u32) -> ProgressBar {
    let total = run.node.state().facts().map_or(0, |facts| facts.total.get());
    let target = if screen.is_term() {
        ProgressDrawTarget::term(screen.clone(), 10)
    } else {
        ProgressDrawTarget::hidden()
    };
    let bar = ProgressBar::with_draw_target(Some(total.into()), target);
    let style = ProgressStyle::with_template("shards     {bar:40} {pos}/{len}  {msg}")
        .expect("a constant template");
    bar.set_style(style);
    let seconds = identify_time(total, max_concurrency).as_secs_f64();
    bar.set_message(format!(
        "one IDENTIFY first, then {max_concurrency} every 5 s: about {seconds:.0} s"
    ));
    bar
}

fn ready(shards: &[ShardNow]) -> u64 {
    shards.iter().filter(|now| now.status.shard == ShardStatus::Ready).count() as u64
}

/// The table, and what it needs to remember from one drawing to the next.
struct Live {
    picture: Picture,
    last: BTreeMap<ShardId, u64>,
    last_at: Option<Instant>,
}

impl Live {
    const fn new(screen: Term) -> Self {
        Self { picture: Picture::new(screen), last: BTreeMap::new(), last_at: None }
    }

    fn draw(&mut self, run: &Run, shards: &[ShardNow], now: Instant) {
        let counts = run.bot.by_shard();
        let span = self.last_at.map_or(f64::INFINITY, |at| now.duration_since(at).as_secs_f64());
        let rate = |shard: &ShardId| {
            let before = self.last.get(shard).copied().unwrap_or(0);
            let count = counts.get(shard).copied().unwrap_or(0);
            count.saturating_sub(before) as f64 / span
        };
        let total: f64 = counts.keys().map(rate).sum();
        let handled: u64 = counts.values().sum();
        let sum = format!(
            "{} of {} shards ready, {total:.0} events/s, {} handled, up {:.0} s",
            ready(shards),
            shards.len(),
            thousands(handled),
            run.started.elapsed().as_secs_f64()
        );
        if self.picture.is_term() {
            let rows = self.picture.rows(OTHER_LINES);
            let (state, shown) = (run.node.state(), chosen(shards, rows));
            let table = table(TITLES, shown.iter().map(|now| row(now, &state, rate(&now.shard))));
            let left_out = shards.len() - shown.len();
            let more =
                if left_out > 0 { format!("\n… and {left_out} more") } else { String::new() };
            self.picture.show(&format!("\n{table}{more}\n\n{sum}    Ctrl-C drains and ends"));
        } else {
            let _ = say(&sum);
        }
        self.last = counts;
        self.last_at = Some(now);
    }
}

/// The rows that fit: those that are not ready first, since these are what one looks for.
fn chosen(shards: &[ShardNow], rows: usize) -> Vec<&ShardNow> {
    let mut order: Vec<&ShardNow> = shards.iter().collect();
    order.sort_by_key(|now| (now.status.shard == ShardStatus::Ready, now.shard));
    order.truncate(rows);
    order.sort_by_key(|now| now.shard);
    order
}

const TITLES: &[&str] = &[
    ">shard",
    "state",
    ">session",
    ">latency",
    ">guilds",
    ">events/s",
    ">sequence",
    ">checkpoint",
];

fn row(now: &ShardNow, state: &crate::state::State, rate: f64) -> Vec<String> {
    let checkpoint = state.shards().get(&now.shard).map(|shard| shard.checkpoint().sequence.0);
    let latency = now.status.latency.map(|span| format!("{:.1} ms", span.as_secs_f64() * 1_000.0));
    vec![
        now.shard.to_string(),
        now.status.shard.as_str().to_owned(),
        now.progress.session.to_string(),
        latency.unwrap_or_else(|| "-".to_owned()),
        thousands(now.progress.totals.guilds.into()),
        format!("{rate:.0}"),
        thousands(now.received.0),
        checkpoint.map_or_else(|| "-".to_owned(), thousands),
    ]
}
