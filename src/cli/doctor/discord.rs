//! What Discord says of the token, and of the day's identifies.

use std::time::Duration;

use reqwest::header::DATE;

use super::Finding;
use crate::config::Config;
use crate::gateway::{ApplicationInfo, GatewayInfo, Rest, RestError, RestLimits};
use crate::model::{UnixMillis, recommended_total};

/// Certificates and permits are good for hours: below this a clock is right enough, and `Date` has whole seconds.
const SKEW_MAX: Duration = Duration::from_secs(5);

/// One question to Discord.
const WITHIN: Duration = Duration::from_secs(10);

/// The bits of an application's flags that allow a privileged intent: for bots in 100 guilds or more, and for smaller
/// ones (Application docs, "Application Flags").
const PRIVILEGED: [(&str, u64); 3] = [
    ("GUILD_PRESENCES", 1 << 12 | 1 << 13),
    ("GUILD_MEMBERS", 1 << 14 | 1 << 15),
    ("MESSAGE_CONTENT", 1 << 18 | 1 << 19),
];

pub(super) async fn checks(config: &Config) -> Vec<Finding> {
    let clock = clock(config).await;
    let Ok(token) = config.require_token() else {
        let fix =
            "put the bot's token into DISCORD_TOKEN, or a file with it into DISCORD_TOKEN_FILE";
        return vec![clock, Finding::failure("token", "there is none", fix)];
    };
    let limits = RestLimits { attempts: 1, deadline: WITHIN, ..RestLimits::default() };
    let rest = match Rest::new(&config.discord_api, token.clone(), limits) {
        Ok(rest) => rest,
        Err(error) => return vec![clock, no_answer("token", &error)],
    };
    let (application, gateway) = tokio::join!(rest.application(), rest.gateway());
    let mut findings = vec![clock];
    match &application {
        Ok(application) => {
            findings.push(token_of(application));
            findings.push(intents(config, application));
        }
        Err(error) => findings.push(no_answer("token", error)),
    }
    match &gateway {
        Ok(gateway) => {
            findings.push(shards(config, application.as_ref().ok(), gateway));
            findings.push(identifies(config, application.as_ref().ok(), gateway));
        }
        // The token's line says it.
        Err(RestError::Unauthorized) => {}
        Err(error) => findings.push(no_answer("identifies", error)),
    }
    findings
}

fn no_answer(check: &'static str, error: &RestError) -> Finding {
    let fix = match error {
        RestError::Unauthorized => "copy the token anew from Discord's developer portal",
        _ => "let this machine reach Discord over HTTPS, or correct --discord-api",
    };
    Finding::failure(check, error.to_string(), fix)
}

fn token_of(application: &ApplicationInfo) -> Finding {
    let guilds = match application.approximate_guild_count {
        Some(guilds) => format!("about {guilds} guilds"),
        None => "guilds unknown".to_owned(),
    };
    Finding::ok("token", format!("{} ({}), {guilds}", application.name, application.id))
}

fn intents(config: &Config, application: &ApplicationInfo) -> Finding {
    let missing: Vec<_> = config
        .intents
        .privileged()
        .filter(|name| {
            PRIVILEGED.iter().any(|(known, bits)| known == name && application.flags & bits == 0)
        })
        .collect();
    if missing.is_empty() {
        return Finding::ok("intents", format!("{} may be used", config.intents));
    }
    Finding::failure(
        "intents",
        format!(
            "the application may not use {}; Discord would close with 4014",
            missing.join(", ")
        ),
        "switch them on under \"Bot\" in Discord's developer portal, or leave them out of --intents",
    )
}

fn total(config: &Config, application: Option<&ApplicationInfo>, gateway: &GatewayInfo) -> u32 {
    let recommended = crate::model::ShardTotal::new(gateway.shards);
    let guilds = application.and_then(|it| it.approximate_guild_count).unwrap_or_default();
    match (config.total_shards, recommended) {
        (Some(total), _) => total.get(),
        (None, Ok(recommended)) => {
            recommended_total(guilds, config.guilds_per_shard, recommended).get()
        }
        (None, Err(_)) => gateway.shards,
    }
}

fn shards(
    config: &Config,
    application: Option<&ApplicationInfo>,
    gateway: &GatewayInfo,
) -> Finding {
    let (total, recommended) = (total(config, application, gateway), gateway.shards);
    let detail = format!("a new cluster would run {total}; Discord recommends {recommended}");
    if total < recommended {
        let fix = format!(
            "raise --total-shards to {recommended} before shards grow past 2,500 guilds (4011)"
        );
        return Finding::warning("shards", detail, fix);
    }
    Finding::ok("shards", detail)
}

fn identifies(
    config: &Config,
    application: Option<&ApplicationInfo>,
    gateway: &GatewayInfo,
) -> Finding {
    let limit = gateway.session_start_limit;
    let (total, hours) = (total(config, application, gateway), limit.reset_after / 3_600_000);
    let detail = format!(
        "{} of {} left, {} at a time, full again in {hours} h",
        limit.remaining, limit.total, limit.max_concurrency
    );
    if limit.remaining < total {
        let fix = format!(
            "a start of {total} shards without sessions needs more: wait {hours} h, or keep the data directories, whose sessions need none"
        );
        return Finding::warning("identifies", detail, fix);
    }
    Finding::ok("identifies", detail)
}

/// This machine's clock beside the `Date` of Discord's answer.
async fn clock(config: &Config) -> Finding {
    let asked = async {
        let client = reqwest::Client::builder().timeout(WITHIN).build().ok()?;
        // Needs no token.
        let url = format!("{}/gateway", config.discord_api.as_str().trim_end_matches('/'));
        let answer = client.get(url).send().await.ok()?;
        let date = answer.headers().get(DATE)?.to_str().ok()?.to_owned();
        Some((date, UnixMillis::now()))
    };
    let Some((date, now)) = asked.await else {
        return Finding::skipped("clock", "Discord's API gave no time to compare with");
    };
    let Ok(theirs) = jiff::fmt::rfc2822::parse(&date) else {
        return Finding::skipped(
            "clock",
            format!("Discord's API gave a time that is none: {date}"),
        );
    };
    let theirs = u64::try_from(theirs.timestamp().as_millisecond()).unwrap_or_default();
    let skew = Duration::from_millis(now.0.abs_diff(theirs));
    if skew > SKEW_MAX {
        return Finding::failure(
            "clock",
            format!("{} s away from Discord's", skew.as_secs()),
            "run an NTP client: certificates that are good for hours depend on the clock",
        );
    }
    Finding::ok("clock", "agrees with Discord's")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::Verdict;
    use crate::config::{Environment, Sources, load};
    use crate::gateway::SessionStartLimit;
    use crate::model::ApplicationId;

    fn config(variables: &[(&'static str, &'static str)]) -> Config {
        let environment: Environment = variables.iter().copied().collect();
        load(&Sources { environment, ..Sources::default() }).unwrap().config
    }

    fn application(flags: u64) -> ApplicationInfo {
        let name = "bot".to_owned();
        ApplicationInfo { id: ApplicationId(1), name, approximate_guild_count: Some(16_000), flags }
    }

    fn gateway(shards: u32, remaining: u32) -> GatewayInfo {
        let session_start_limit = SessionStartLimit {
            total: 1_000,
            remaining,
            reset_after: 7_200_000,
            max_concurrency: 16,
        };
        GatewayInfo { url: "wss://gateway.discord.gg".to_owned(), shards, session_start_limit }
    }

    #[test]
    fn a_privileged_intent_that_the_application_may_not_use_is_named() {
        let config = config(&[("DISCORD_INTENTS", "GUILDS,GUILD_MEMBERS,MESSAGE_CONTENT")]);

        let found = intents(&config, &application(1 << 19));
        assert_eq!(found.verdict, Verdict::Failure);
        assert!(found.detail.contains("may not use GUILD_MEMBERS;"), "{}", found.detail);

        assert_eq!(intents(&config, &application(1 << 14 | 1 << 19)).verdict, Verdict::Ok);
    }

    #[test]
    fn a_day_whose_identifies_do_not_suffice_is_told_before_the_start() {
        let config = config(&[]);

        assert_eq!(identifies(&config, None, &gateway(16, 984)).verdict, Verdict::Ok);
        let short = identifies(&config, None, &gateway(16, 9));

        assert_eq!(short.verdict, Verdict::Warning);
        assert!(short.fix.unwrap().contains("16 shards"));
    }

    #[test]
    fn fewer_shards_than_discord_recommends_are_a_warning() {
        let config = config(&[("TOTAL_SHARDS", "8")]);

        assert_eq!(shards(&config, None, &gateway(16, 900)).verdict, Verdict::Warning);
        assert_eq!(shards(&config, None, &gateway(8, 900)).verdict, Verdict::Ok);
    }
}
