//! `apolo bench`.

use clap::Subcommand;

use crate::model::ShardTotal;
use crate::simulator::world::snowflakes;

use super::{
    Failure,
    distribution::{Distribution, IMBALANCE_PERCENT_MAX, analyse},
    output::{say, say_json, table, thousands},
};

#[derive(clap::Args, Debug)]
pub(super) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// How evenly Discord's rule spreads guilds over shards, on guild ids like real ones
    Distribution(DistributionArguments),
}

#[derive(clap::Args, Debug)]
struct DistributionArguments {
    /// Guilds of the bot
    #[arg(long, value_name = "COUNT", default_value_t = 1_000_000,
          value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    guilds: u64,
    /// Shards to spread them over
    #[arg(long, value_name = "COUNT", default_value = "10", value_parser = shard_total)]
    shards: ShardTotal,
    /// What the guild ids follow from
    #[arg(long, value_name = "NUMBER", default_value_t = 17)]
    seed: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// More shards than this are summed up by the fullest and the emptiest.
const ROWS_MAX: usize = 32;

/// The fullest and the emptiest that are then shown.
const ROWS_AT_EACH_END: usize = 5;

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    match &arguments.what {
        What::Distribution(arguments) => distribution(arguments),
    }
}

fn distribution(arguments: &DistributionArguments) -> Result<(), Failure> {
    let found = analyse(snowflakes(arguments.seed, arguments.guilds), arguments.shards);
    if arguments.json {
        return say_json(&found);
    }
    say(table(&[">shard", ">guilds", ">off average"], rows(&found)))?;
    say("")?;
    say(format_args!("Guilds:    {}", thousands(found.guilds)))?;
    say(format_args!("Shards:    {}", found.shards))?;
    say(format_args!("Average:   {:.1} guilds a shard", found.average))?;
    say(format_args!("Maximum:   {}", thousands(found.max)))?;
    say(format_args!("Minimum:   {}", thousands(found.min)))?;
    say(format_args!("Imbalance: {:.2} %", found.imbalance_percent))?;
    let verdict = if found.balanced { "balanced: below" } else { "imbalanced: not below" };
    say(format_args!("{verdict} {IMBALANCE_PERCENT_MAX} %"))
}

fn rows(found: &Distribution) -> Vec<Vec<String>> {
    let row = |(shard, guilds): (usize, u64)| {
        let off = (guilds as f64 / found.average - 1.0) * 100.0;
        vec![shard.to_string(), thousands(guilds), format!("{off:+.2} %")]
    };
    let mut counts: Vec<_> = found.counts.iter().copied().enumerate().collect();
    if counts.len() <= ROWS_MAX {
        return counts.into_iter().map(row).collect();
    }
    counts.sort_by_key(|(shard, guilds)| (std::cmp::Reverse(*guilds), *shard));
    let emptiest = counts.split_off(counts.len() - ROWS_AT_EACH_END);
    counts.truncate(ROWS_AT_EACH_END);
    let gap = vec!["…".to_owned(), String::new(), String::new()];
    counts.into_iter().map(row).chain([gap]).chain(emptiest.into_iter().map(row)).collect()
}

fn shard_total(text: &str) -> Result<ShardTotal, String> {
    let count: u32 = text.parse().map_err(|_| "expected a number from 1 to 65536".to_owned())?;
    ShardTotal::new(count).map_err(|error| error.to_string())
}
