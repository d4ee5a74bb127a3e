//! Which shard total and intents a node runs with, and whether it can pay for them. Pure.

use std::time::Duration;

use thiserror::Error;

use crate::control::identify::ANSWERED_PERIOD;
use crate::model::{ApplicationId, ShardTotal, UnixMillis, recommended_total};
use crate::state::{Facts, Gateway, Limits};

/// What the operator asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    /// `--total-shards`.
    pub(super) total: Option<ShardTotal>,
    /// `USERS_PER_SHARD`.
    pub(super) guilds_per_shard: u64,
    /// `--intents`.
    pub(super) intents: u64,
    /// `--reshard`: a change is meant, and its price is known.
    pub(super) reshard: bool,
}

/// Which bot the token belongs to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Application {
    pub(super) id: ApplicationId,
    /// `approximate_guild_count`.
    pub(super) guilds: u64,
}

/// What is to be done about the committed facts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Plan {
    /// They hold.
    Keep(Facts),
    /// There are none yet.
    Fix(Facts),
    /// They are to change.
    Reshard {
        /// The total as committed.
        from: ShardTotal,
        /// The new facts.
        facts: Facts,
    },
}

/// Why a node doesn't start.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum FactsError {
    /// The token is another bot's.
    #[error(
        "the data directory belongs to application {fixed}, but the token is application {seen}'s: use that bot's token, or another --data-dir"
    )]
    OtherBot {
        /// Whose sessions the directory holds.
        fixed: ApplicationId,
        /// Whose token was given.
        seen: ApplicationId,
    },
    /// A setting differs from what the cluster is fixed to.
    #[error(
        "{what}, but this cluster is fixed to {fixed}; a change drops every session and spends {cost} of the {remaining} identifies left today, over about {seconds} s: take the setting back, or add --reshard to go through with it"
    )]
    Differs {
        /// The setting and what it asks for.
        what: String,
        /// What is committed.
        fixed: String,
        /// Identifies that the change spends.
        cost: u32,
        /// Identifies left.
        remaining: u32,
        /// How long the identifies take.
        seconds: u64,
    },
    /// The day's identifies don't suffice.
    #[error(
        "starting {needed} shards takes {needed} identifies, but of today's {total} only {remaining} are left and {reserve} of these are kept for shards that lose their session: {needed} > {remaining} - {reserve}; the count starts anew in {hours} h {minutes} min. Exceeding it would make Discord drop every session and reset the token"
    )]
    Unaffordable {
        /// Shards without a session.
        needed: u32,
        /// Identifies a day.
        total: u32,
        /// Identifies left.
        remaining: u32,
        /// Kept for recoveries.
        reserve: u32,
        /// Until the count starts anew: hours…
        hours: u64,
        /// …and minutes.
        minutes: u64,
    },
}

/// Chooses the facts. `fixed` is what is committed already.
pub(super) fn choose(
    fixed: Option<Facts>,
    application: Application,
    gateway: &Gateway,
    wanted: &Wanted,
) -> Result<Plan, FactsError> {
    let Some(fixed) = fixed else {
        let total = wanted.total.unwrap_or_else(|| {
            recommended_total(application.guilds, wanted.guilds_per_shard, gateway.recommended)
        });
        let facts = Facts { application: application.id, total, intents: wanted.intents };
        return Ok(Plan::Fix(facts));
    };
    check_bot(fixed, application.id)?;
    let facts = Facts {
        total: wanted.total.unwrap_or(fixed.total),
        intents: wanted.intents,
        application: application.id,
    };
    if facts == fixed {
        return Ok(Plan::Keep(fixed));
    }
    if wanted.reshard {
        return Ok(Plan::Reshard { from: fixed.total, facts });
    }
    Err(differs(fixed, facts, gateway.limits))
}

/// Refuses another bot's token.
pub(super) fn check_bot(fixed: Facts, seen: ApplicationId) -> Result<(), FactsError> {
    let fixed = fixed.application;
    if fixed == seen { Ok(()) } else { Err(FactsError::OtherBot { fixed, seen }) }
}

/// Refuses a start that the day's identifies can't pay for. `needed` counts the shards without a session.
pub(super) fn check_budget(
    needed: u32,
    limits: Limits,
    reserve: u32,
    now: UnixMillis,
) -> Result<(), FactsError> {
    let Limits { total, remaining, resets_at, .. } = limits;
    if needed <= remaining.saturating_sub(reserve) {
        return Ok(());
    }
    let minutes = resets_at.since(now).as_secs().div_ceil(60);
    let (hours, minutes) = (minutes / 60, minutes % 60);
    Err(FactsError::Unaffordable { needed, total, remaining, reserve, hours, minutes })
}

/// How long it takes to identify `shards` times, at Discord's pace.
#[must_use]
pub fn identify_time(shards: u32, max_concurrency: u32) -> Duration {
    let waves = shards.div_ceil(max_concurrency.max(1));
    ANSWERED_PERIOD * waves.saturating_sub(1)
}

fn differs(fixed: Facts, facts: Facts, limits: Limits) -> FactsError {
    let (what, fixed) = if facts.total == fixed.total {
        (format!("--intents asks for {}", facts.intents), format!("{}", fixed.intents))
    } else {
        (format!("--total-shards asks for {}", facts.total), format!("{} shards", fixed.total))
    };
    let cost = facts.total.get();
    FactsError::Differs {
        what,
        fixed,
        cost,
        remaining: limits.remaining,
        seconds: identify_time(cost, limits.max_concurrency).as_secs(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOT: Application = Application { id: ApplicationId(1), guilds: 250_000 };
    const WANTED: Wanted =
        Wanted { total: None, guilds_per_shard: 100_000, intents: 1, reshard: false };

    fn total(shards: u32) -> ShardTotal {
        ShardTotal::new(shards).unwrap()
    }

    fn facts(shards: u32) -> Facts {
        Facts { application: BOT.id, total: total(shards), intents: 1 }
    }

    fn limits(remaining: u32) -> Limits {
        Limits { max_concurrency: 16, total: 1_000, remaining, resets_at: UnixMillis(7_500_000) }
    }

    fn gateway(recommended: u32) -> Gateway {
        let url = "wss://gateway.discord.gg".into();
        Gateway { url, recommended: total(recommended), limits: limits(900) }
    }

    #[test]
    fn a_new_cluster_takes_the_formula_but_never_less_than_discord_recommends() {
        assert_eq!(choose(None, BOT, &gateway(1), &WANTED), Ok(Plan::Fix(facts(3))));
        assert_eq!(choose(None, BOT, &gateway(112), &WANTED), Ok(Plan::Fix(facts(112))));
    }

    #[test]
    fn the_operators_total_wins_in_a_new_cluster() {
        let wanted = Wanted { total: Some(total(8)), ..WANTED };

        assert_eq!(choose(None, BOT, &gateway(112), &wanted), Ok(Plan::Fix(facts(8))));
    }

    #[test]
    fn a_restart_keeps_the_total_whatever_discord_recommends_meanwhile() {
        assert_eq!(choose(Some(facts(16)), BOT, &gateway(112), &WANTED), Ok(Plan::Keep(facts(16))));
    }

    #[test]
    fn another_bots_token_is_refused_with_both_applications() {
        let other = Application { id: ApplicationId(2), ..BOT };

        let error = choose(Some(facts(16)), other, &gateway(16), &WANTED).unwrap_err();

        assert!(error.to_string().contains("application 1, but the token is application 2's"));
    }

    #[test]
    fn a_change_tells_its_price_before_it_is_made() {
        let wanted = Wanted { total: Some(total(32)), ..WANTED };

        let error = choose(Some(facts(16)), BOT, &gateway(16), &wanted).unwrap_err().to_string();
        assert!(error.contains("--total-shards asks for 32"), "{error}");
        assert!(error.contains("spends 32 of the 900 identifies"), "{error}");
        assert!(error.contains("--reshard"), "{error}");

        let meant = Wanted { reshard: true, ..wanted };
        assert_eq!(
            choose(Some(facts(16)), BOT, &gateway(16), &meant),
            Ok(Plan::Reshard { from: total(16), facts: facts(32) })
        );
    }

    #[test]
    fn other_intents_are_a_change_too() {
        let wanted = Wanted { intents: 3, ..WANTED };

        let error = choose(Some(facts(16)), BOT, &gateway(16), &wanted).unwrap_err();

        assert!(error.to_string().starts_with("--intents asks for 3"));
    }

    #[test]
    fn a_start_that_the_day_cannot_pay_for_is_refused_with_the_arithmetic() {
        let now = UnixMillis(0);

        assert_eq!(check_budget(16, limits(116), 100, now), Ok(()));
        let error = check_budget(17, limits(116), 100, now).unwrap_err().to_string();

        assert!(error.contains("17 > 116 - 100"), "{error}");
        assert!(error.contains("in 2 h 5 min"), "{error}");
    }

    #[test]
    fn identifies_take_a_period_for_every_wave_but_the_first() {
        assert_eq!(identify_time(16, 16), Duration::ZERO);
        assert_eq!(identify_time(448, 16), ANSWERED_PERIOD * 27);
    }
}
