//! The guilds of one shard: who they are, how large, how busy.

use rand::{RngExt as _, SeedableRng as _};

use super::{
    WorldOptions,
    profile::Guild,
    snowflake::{Random, guild_of_shard, scramble},
};
use crate::model::{DISCORD_GUILDS_PER_SHARD_MAX, GuildId, ShardId, ShardTotal};

/// Half of all guilds have fewer members than this.
const MEMBERS_MEDIAN: f64 = 60.0;

/// The spread of the log-normal distribution: one guild in twenty thousand has more than 100,000 members.
const MEMBERS_SIGMA: f64 = 1.9;

/// Members of the largest guild.
const MEMBERS_MAX: f64 = 1_000_000.0;

/// A guild's events grow with its members to this power: larger ones are busier, but not in proportion.
const ACTIVITY_EXPONENT: f64 = 0.7;

/// Above this variance a binomial is drawn from the normal distribution, below it by counting coins.
const COINS_VARIANCE_MAX: f64 = 64.0;

/// A shard's guilds, in the order of their ids, and a tree of their activity from which busy ones are drawn more often.
#[derive(Debug)]
pub(super) struct Population {
    guilds: Vec<Guild>,
    /// A Fenwick tree over the guilds' activity; those in an outage count 0.
    activity: Vec<u64>,
    members: u64,
    unavailable: usize,
}

impl Population {
    /// Draws the guilds of a shard, in time proportional to these alone.
    ///
    /// Each shard is drawn by itself, not cut out of a drawn whole, since 448 shards would otherwise draw a million
    /// guilds each. The result is the same: how many guilds each shard has is a fair multinomial draw (see
    /// [`guilds_of`]), and within a shard a guild's time of creation, a span of 10¹¹ milliseconds, barely feels that
    /// it is moved by less than `total` of them.
    pub(super) fn draw(options: &WorldOptions, shard: ShardId) -> Self {
        let mut random = Random::seed_from_u64(
            scramble(options.seed)
                ^ scramble(u64::from(options.total.get()) << 32 | u64::from(shard.0)),
        );
        let count = guilds_of(options.seed, options.guilds, options.total, shard);
        let mut guilds: Vec<Guild> =
            (0..count).map(|_| draw_guild(&mut random, shard, options.total)).collect();
        guilds.sort_unstable_by_key(|guild| guild.id);
        guilds.dedup_by_key(|guild| guild.id);
        let mut population = Self { guilds, activity: Vec::new(), members: 0, unavailable: 0 };
        population.count_up();
        population
    }

    pub(super) fn guilds(&self) -> &[Guild] {
        &self.guilds
    }

    pub(super) const fn members(&self) -> u64 {
        self.members
    }

    pub(super) const fn unavailable(&self) -> usize {
        self.unavailable
    }

    pub(super) fn find(&self, id: GuildId) -> Option<usize> {
        self.guilds.binary_search_by_key(&id, |guild| guild.id).ok()
    }

    /// The place of a guild that is not in an outage, drawn by activity.
    pub(super) fn busy(&self, random: &mut Random) -> Option<usize> {
        let total = prefix_sum(&self.activity, self.activity.len());
        (total > 0).then(|| descend(&self.activity, random.random_range(0..total)))
    }

    /// The place of the first guild in an outage.
    pub(super) fn in_outage(&self) -> Option<usize> {
        (self.unavailable > 0).then(|| self.guilds.iter().position(|guild| guild.unavailable))?
    }

    /// The bot joins a guild. Nothing happens where it is a member already.
    pub(super) fn join(&mut self, guild: Guild) {
        if let Err(place) = self.guilds.binary_search_by_key(&guild.id, |guild| guild.id) {
            self.guilds.insert(place, guild);
            self.count_up();
        }
    }

    /// The bot leaves a guild.
    pub(super) fn leave(&mut self, place: usize) -> Guild {
        let guild = self.guilds.remove(place);
        self.count_up();
        guild
    }

    /// A guild's outage begins or ends.
    pub(super) fn set_unavailable(&mut self, place: usize, unavailable: bool) {
        self.guilds[place].unavailable = unavailable;
        self.count_up();
    }

    /// A member comes or goes.
    pub(super) fn members_change(&mut self, place: usize, change: i32) {
        let guild = &mut self.guilds[place];
        let members = guild.members.saturating_add_signed(change);
        self.members = self.members - u64::from(guild.members) + u64::from(members);
        guild.members = members;
    }

    /// Builds the tree and the sums anew: linear, but joins and leaves are rare.
    fn count_up(&mut self) {
        self.members = self.guilds.iter().map(|guild| u64::from(guild.members)).sum();
        self.unavailable = self.guilds.iter().filter(|guild| guild.unavailable).count();
        self.activity.clear();
        self.activity.extend(self.guilds.iter().map(activity));
        for place in 1..=self.activity.len() {
            let parent = place + lowest_bit(place);
            if parent <= self.activity.len() {
                self.activity[parent - 1] += self.activity[place - 1];
            }
        }
    }
}

/// Draws a guild that could have joined.
pub(super) fn draw_guild(random: &mut Random, shard: ShardId, total: ShardTotal) -> Guild {
    let members = MEMBERS_MEDIAN * (MEMBERS_SIGMA * normal(random)).exp();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to a range that fits"
    )]
    let members = members.clamp(2.0, MEMBERS_MAX) as u32;
    Guild { id: guild_of_shard(random, shard, total), members, unavailable: false }
}

/// How many of the bot's guilds are on the shard: what routing a million independent ids would give, without drawing
/// them.
///
/// The guilds are split over the lower and the upper half of the shards by a binomial draw, and so on down to one
/// shard. Every shard walks the same tree with the same seeds, so that the counts of all shards add up to `guilds`. Where
/// there is room for all of them within Discord's bound on a shard, no shard gets more: Discord would not have let the
/// bot run on so few shards otherwise.
fn guilds_of(seed: u64, guilds: u64, total: ShardTotal, shard: ShardId) -> u64 {
    let (mut first, mut end) = (0, total.get());
    let mut count = guilds;
    while end - first > 1 {
        let middle = first + (end - first) / 2;
        let share = f64::from(middle - first) / f64::from(end - first);
        let node = scramble(u64::from(first) << 32 | u64::from(end));
        let mut random = Random::seed_from_u64(scramble(seed ^ u64::from(total.get())) ^ node);
        let lower = binomial(&mut random, count, share);
        let room = |shards: u32| u64::from(shards) * DISCORD_GUILDS_PER_SHARD_MAX;
        let lower = if count <= room(end - first) {
            lower.clamp(count.saturating_sub(room(end - middle)), room(middle - first))
        } else {
            lower
        };
        if shard.0 < middle {
            (end, count) = (middle, lower);
        } else {
            (first, count) = (middle, count - lower);
        }
    }
    count
}

/// How many of `trials` succeed.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts of guilds are far below 2^53, and the draw is clamped"
)]
fn binomial(random: &mut Random, trials: u64, share: f64) -> u64 {
    let mean = trials as f64 * share;
    let variance = mean * (1.0 - share);
    if variance < COINS_VARIANCE_MAX {
        return (0..trials).map(|_| u64::from(random.random_bool(share))).sum();
    }
    let draw = mean + variance.sqrt() * normal(random);
    (draw.round().max(0.0) as u64).min(trials)
}

/// A draw from the standard normal distribution (Box and Muller).
fn normal(random: &mut Random) -> f64 {
    let radius = (-2.0 * (1.0 - random.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * random.random::<f64>()).cos()
}

/// A guild's weight in the draw, in sixteenths so that small guilds differ too.
fn activity(guild: &Guild) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "at most 16 times a million to the power of 0.7"
    )]
    let weight = (16.0 * f64::from(guild.members).powf(ACTIVITY_EXPONENT)) as u64;
    if guild.unavailable { 0 } else { weight.max(1) }
}

const fn lowest_bit(place: usize) -> usize {
    place & place.wrapping_neg()
}

fn prefix_sum(tree: &[u64], mut place: usize) -> u64 {
    let mut sum = 0;
    while place > 0 {
        sum += tree[place - 1];
        place -= lowest_bit(place);
    }
    sum
}

/// The first place whose prefix sum is above `target`.
fn descend(tree: &[u64], mut target: u64) -> usize {
    let mut place = 0;
    let mut step = (tree.len() + 1).next_power_of_two() >> 1;
    while step > 0 {
        let next = place + step;
        if next <= tree.len() && tree[next - 1] <= target {
            target -= tree[next - 1];
            place = next;
        }
        step >>= 1;
    }
    place
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(guilds: u64, total: u32) -> WorldOptions {
        WorldOptions { seed: 11, guilds, total: ShardTotal::new(total).unwrap() }
    }

    #[test]
    fn the_shards_counts_add_up_to_the_bots_guilds() {
        for (guilds, total) in [(0, 3), (1, 16), (16_000, 16), (1_000_000, 448), (999, 7)] {
            let options = options(guilds, total);
            let sum: u64 = options
                .total
                .shards()
                .map(|shard| guilds_of(options.seed, guilds, options.total, shard))
                .sum();

            assert_eq!(sum, guilds);
        }
    }

    #[test]
    fn no_shard_is_overfull_where_all_guilds_fit() {
        for (guilds, total) in [(40_000, 16), (1_120_000, 448), (2_499, 1)] {
            let options = options(guilds, total);
            let counts: Vec<u64> = options
                .total
                .shards()
                .map(|shard| guilds_of(options.seed, guilds, options.total, shard))
                .collect();

            assert!(counts.iter().all(|count| *count <= 2_500), "{guilds} on {total}");
            assert_eq!(counts.iter().sum::<u64>(), guilds);
        }
    }

    #[test]
    fn shards_differ_as_much_as_independent_ids_would_make_them() {
        let options = options(1_000_000, 448);
        let counts: Vec<f64> = options
            .total
            .shards()
            .map(|shard| guilds_of(options.seed, options.guilds, options.total, shard) as f64)
            .collect();

        let mean = counts.iter().sum::<f64>() / 448.0;
        let deviation =
            (counts.iter().map(|count| (count - mean).powi(2)).sum::<f64>() / 448.0).sqrt();

        assert!((40.0..55.0).contains(&deviation), "expected √2232 ≈ 47, got {deviation}");
        assert!(counts.iter().all(|count| *count <= 2_500.0));
    }

    #[test]
    fn members_have_a_long_tail() {
        let population = Population::draw(&options(200_000, 1), ShardId(0));
        let mut members: Vec<u32> = population.guilds().iter().map(|guild| guild.members).collect();
        members.sort_unstable();

        assert!((50..70).contains(&members[members.len() / 2]));
        assert!((2..40).contains(&members.iter().filter(|count| **count > 100_000).count()));
    }

    #[test]
    fn guilds_are_drawn_in_proportion_to_their_activity() {
        let population = Population::draw(&options(50, 1), ShardId(0));
        let mut random = Random::seed_from_u64(2);
        let mut drawn = vec![0_u64; population.guilds().len()];
        for _ in 0..200_000 {
            drawn[population.busy(&mut random).unwrap()] += 1;
        }

        let total: u64 = population.guilds().iter().map(activity).sum();

        for (guild, drawn) in population.guilds().iter().zip(drawn) {
            let expected = 200_000.0 * activity(guild) as f64 / total as f64;
            let tolerance = 6.0 * expected.sqrt() + 1.0;
            assert!((drawn as f64 - expected).abs() < tolerance, "{drawn} against {expected}");
        }
    }

    #[test]
    fn a_guild_in_an_outage_is_never_drawn() {
        let mut population = Population::draw(&options(8, 1), ShardId(0));
        let mut random = Random::seed_from_u64(2);
        population.set_unavailable(3, true);

        assert!((0..10_000).all(|_| population.busy(&mut random) != Some(3)));

        for place in 0..8 {
            population.set_unavailable(place, true);
        }
        assert_eq!(population.busy(&mut random), None);
    }
}
