//! The two questions that are asked over HTTP: where the gateway is, and how large the bot is.

use std::time::Duration;

use serde::{Deserialize, de::DeserializeOwned};
use thiserror::Error;
use tokio::{
    sync::Mutex,
    time::{Instant, sleep_until},
};
use url::Url;

use crate::model::{ApplicationId, Token};

/// `GET /gateway/bot` (Gateway docs, "Get Gateway Bot"). It changes over time: not to be kept for long.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
pub struct GatewayInfo {
    /// Where to connect.
    pub url: String,
    /// How many shards Discord recommends.
    pub shards: u32,
    /// How many sessions may be started.
    pub session_start_limit: SessionStartLimit,
}

/// The daily budget of identifies.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
pub struct SessionStartLimit {
    /// In a day.
    pub total: u32,
    /// Left of them.
    pub remaining: u32,
    /// Milliseconds until `remaining` is `total` again.
    pub reset_after: u64,
    /// Buckets, each with one identify in 5 s.
    pub max_concurrency: u32,
}

/// What `GET /applications/@me` says, as far as it matters here.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
pub struct ApplicationInfo {
    /// The bot's application.
    #[serde(deserialize_with = "snowflake")]
    pub id: ApplicationId,
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// About how many guilds it is in. Absent for some applications.
    #[serde(default)]
    pub approximate_guild_count: Option<u64>,
    /// What it is and what it may use (Application docs, "Application Flags").
    #[serde(default)]
    pub flags: u64,
}

/// Why Discord's API gave no answer. None of these carries the token.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum RestError {
    /// 401.
    #[error("the token is wrong or was reset: put the bot's current token into DISCORD_TOKEN")]
    Unauthorized,
    /// Another answer that asking again does not change.
    #[error("{path} answered {status}: check DISCORD_API")]
    Refused {
        /// What was asked.
        path: &'static str,
        /// The HTTP status.
        status: u16,
    },
    /// 429, for longer than was waited.
    #[error("Discord's rate limit allows no request for another {} s", .0.as_secs())]
    RateLimited(Duration),
    /// 5xx.
    #[error("{path} answered {status}: Discord has a problem, it will pass")]
    Unavailable {
        /// What was asked.
        path: &'static str,
        /// The HTTP status.
        status: u16,
    },
    /// No answer in time, or no connection.
    #[error("{path} can't be reached ({reason}): check the network and DISCORD_API")]
    Unreachable {
        /// What was asked.
        path: &'static str,
        /// Why.
        reason: &'static str,
    },
    /// An answer that is none.
    #[error("{path} gave an answer that can't be read ({reason}): check DISCORD_API")]
    Malformed {
        /// What was asked.
        path: &'static str,
        /// Why.
        reason: &'static str,
    },
    /// `DISCORD_API` can't be used as a base.
    #[error("DISCORD_API must be an http:// or https:// URL without user information or query")]
    Base,
}

impl RestError {
    /// Whether asking again later may help.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::RateLimited(_) | Self::Unavailable { .. } | Self::Unreachable { .. } => true,
            Self::Unauthorized | Self::Refused { .. } | Self::Malformed { .. } | Self::Base => {
                false
            }
        }
    }
}

/// How long is waited, and how often asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RestLimits {
    /// For one answer, from the connect to its last byte.
    pub deadline: Duration,
    /// The least time between two requests; doubled with each failure, up to `spacing_max`.
    pub spacing: Duration,
    /// Where the doubling ends. A 429 that asks for more is believed up to here, too, and is an error beyond.
    pub spacing_max: Duration,
    /// Requests for one answer.
    pub attempts: usize,
}

impl Default for RestLimits {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(10),
            spacing: Duration::from_secs(5),
            spacing_max: Duration::from_secs(60),
            attempts: 5,
        }
    }
}

/// The largest answer that is read. Discord's are a few kilobytes.
const BODY_MAX: usize = 1_024 * 1_024;

/// Discord's HTTP API, with a bot's token.
///
/// It follows no redirect, so that the token goes nowhere else, and sends a repeated request at most every
/// [`RestLimits::spacing`].
#[derive(Debug)]
pub struct Rest {
    client: reqwest::Client,
    base: Url,
    token: Token,
    limits: RestLimits,
    /// When the next repeated request may go out.
    free_at: Mutex<Option<Instant>>,
}

impl Rest {
    /// The API at `base`, such as `https://discord.com/api/v10`.
    ///
    /// # Errors
    ///
    /// Where `base` can't be used.
    pub fn new(base: &Url, token: Token, limits: RestLimits) -> Result<Self, RestError> {
        let plain = matches!(base.scheme(), "http" | "https")
            && base.username().is_empty()
            && base.password().is_none()
            && base.query().is_none()
            && base.host().is_some();
        if !plain {
            return Err(RestError::Base);
        }
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(limits.deadline)
            .user_agent(concat!(
                "DiscordBot (https://crates.io/crates/apolo, ",
                env!("CARGO_PKG_VERSION"),
                ")"
            ))
            .build()
            .map_err(|_| RestError::Base)?;
        Ok(Self { client, base: base.clone(), token, limits, free_at: Mutex::new(None) })
    }

    /// Where the gateway is, how many shards Discord recommends, and the identify budget.
    ///
    /// # Errors
    ///
    /// Where Discord refuses, or does not answer in [`RestLimits::attempts`] attempts.
    pub async fn gateway(&self) -> Result<GatewayInfo, RestError> {
        self.get("/gateway/bot").await
    }

    /// Which application the token belongs to, and how many guilds it is in.
    ///
    /// # Errors
    ///
    /// As [`Rest::gateway`].
    pub async fn application(&self) -> Result<ApplicationInfo, RestError> {
        self.get("/applications/@me").await
    }

    async fn get<T: DeserializeOwned>(&self, path: &'static str) -> Result<T, RestError> {
        let mut spacing = self.limits.spacing;
        let mut attempt = 1;
        loop {
            self.turn().await;
            let error = match self.once(path).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let asked =
                if let RestError::RateLimited(wait) = error { wait } else { Duration::ZERO };
            let wait = asked.max(spacing);
            // Also for whoever asks next: the bound is on requests, not on answers.
            *self.free_at.lock().await = Some(Instant::now() + wait.min(self.limits.spacing_max));
            if !error.is_retryable()
                || attempt >= self.limits.attempts
                || wait > self.limits.spacing_max
            {
                return Err(error);
            }
            tracing::warn!(%error, attempt, "Discord's API will be asked again");
            attempt += 1;
            spacing = (spacing * 2).min(self.limits.spacing_max);
        }
    }

    /// Waits until the last failure lies far enough back.
    async fn turn(&self) {
        let free_at = *self.free_at.lock().await;
        if let Some(at) = free_at {
            sleep_until(at).await;
        }
    }

    async fn once<T: DeserializeOwned>(&self, path: &'static str) -> Result<T, RestError> {
        let url = format!("{}{path}", self.base.as_str().trim_end_matches('/'));
        let authorization = format!("Bot {}", self.token.expose());
        let answer = self
            .client
            .get(url)
            .header(reqwest::header::AUTHORIZATION, authorization)
            .send()
            .await
            .map_err(|error| unreachable(path, &error))?;
        let status = answer.status();
        match status.as_u16() {
            200 => {}
            401 => return Err(RestError::Unauthorized),
            429 => return Err(RestError::RateLimited(retry_after(&answer))),
            500.. => return Err(RestError::Unavailable { path, status: status.as_u16() }),
            _ => return Err(RestError::Refused { path, status: status.as_u16() }),
        }
        let body = read(path, answer).await?;
        serde_json::from_slice(&body)
            .map_err(|_| RestError::Malformed { path, reason: "not the JSON that was expected" })
    }
}

async fn read(path: &'static str, mut answer: reqwest::Response) -> Result<Vec<u8>, RestError> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| unreachable(path, &error))? {
        if body.len() + chunk.len() > BODY_MAX {
            return Err(RestError::Malformed { path, reason: "longer than 1 MiB" });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// `Retry-After` in seconds, which Discord sends with every 429 (Rate Limits docs).
fn retry_after(answer: &reqwest::Response) -> Duration {
    answer
        .headers()
        .get(reqwest::header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.trim().parse::<f64>().ok())
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .unwrap_or_default()
}

fn unreachable(path: &'static str, error: &reqwest::Error) -> RestError {
    let reason = if error.is_timeout() {
        "no answer in time"
    } else if error.is_connect() {
        "no connection"
    } else {
        "the connection broke"
    };
    RestError::Unreachable { path, reason }
}

/// Discord writes snowflakes as strings, since they don't fit a JSON number in every language.
fn snowflake<'de, D: serde::Deserializer<'de>>(data: D) -> Result<ApplicationId, D::Error> {
    let text = String::deserialize(data)?;
    text.parse().map(ApplicationId).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    const INFO: &str = r#"{"url":"wss://gateway.discord.gg","shards":9,"session_start_limit":
        {"total":1000,"remaining":999,"reset_after":14400000,"max_concurrency":1}}"#;

    /// Serves these answers, one connection each, and returns what was asked.
    async fn serve(answers: Vec<String>) -> (Rest, tokio::task::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}/api/v10", listener.local_addr().unwrap());
        let asked = tokio::spawn(async move {
            let mut asked = Vec::new();
            for answer in answers {
                let mut socket = listener.accept().await.unwrap().0;
                let mut request = vec![0; 4_096];
                let count = socket.read(&mut request).await.unwrap();
                asked.push(String::from_utf8_lossy(&request[..count]).into_owned());
                socket.write_all(answer.as_bytes()).await.unwrap();
            }
            asked
        });
        let limits =
            RestLimits { spacing: Duration::from_millis(10), attempts: 3, ..RestLimits::default() };
        let token = Token::parse("secret").unwrap();
        drop(rustls::crypto::ring::default_provider().install_default());
        (Rest::new(&Url::parse(&base).unwrap(), token, limits).unwrap(), asked)
    }

    fn answer(status: &str, headers: &str, body: &str) -> String {
        let length = body.len();
        format!(
            "HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
        )
    }

    #[tokio::test]
    async fn the_gateway_is_asked_with_the_token_and_read() {
        let (rest, asked) = serve(vec![answer("200 OK", "", INFO)]).await;

        let info = rest.gateway().await.unwrap();

        assert_eq!((info.shards, info.session_start_limit.max_concurrency), (9, 1));
        let asked = asked.await.unwrap().concat();
        assert!(asked.starts_with("GET /api/v10/gateway/bot "), "{asked}");
        assert!(asked.contains("authorization: Bot secret"), "{asked}");
    }

    #[tokio::test]
    async fn an_application_is_read() {
        let body = r#"{"id":"123456789012345678","name":"bot","approximate_guild_count":70000}"#;
        let (rest, _asked) = serve(vec![answer("200 OK", "", body)]).await;

        let info = rest.application().await.unwrap();

        assert_eq!(info.id, ApplicationId(123_456_789_012_345_678));
        assert_eq!(info.approximate_guild_count, Some(70_000));
    }

    #[tokio::test]
    async fn failures_that_pass_are_tried_again() {
        let answers = vec![
            answer("503 Service Unavailable", "", ""),
            answer("429 Too Many Requests", "retry-after: 0.05\r\n", "{}"),
            answer("200 OK", "", INFO),
        ];
        let (rest, _asked) = serve(answers).await;
        let start = Instant::now();

        assert_eq!(rest.gateway().await.map(|info| info.shards), Ok(9));
        assert!(start.elapsed() >= Duration::from_millis(60), "{:?}", start.elapsed());
    }

    #[tokio::test]
    async fn what_does_not_pass_is_said_once_and_without_the_token() {
        let cases = [
            (answer("401 Unauthorized", "", ""), "DISCORD_TOKEN"),
            (answer("404 Not Found", "", ""), "404"),
            (answer("302 Found", "location: http://127.0.0.1:1/\r\n", ""), "302"),
            (answer("200 OK", "", "<html>"), "can't be read"),
            (answer("200 OK", "", &" ".repeat(BODY_MAX + 1)), "1 MiB"),
            (answer("429 Too Many Requests", "retry-after: 900\r\n", ""), "900 s"),
        ];
        for (answer, word) in cases {
            let (rest, _asked) = serve(vec![answer]).await;

            let error = rest.gateway().await.unwrap_err();

            assert!(error.to_string().contains(word), "{error}");
            assert!(!format!("{error:?} {error} {rest:?}").contains("secret"));
        }
    }

    #[test]
    fn a_base_that_would_carry_secrets_or_is_no_http_is_refused() {
        let token = Token::parse("secret").unwrap();
        for base in ["ws://discord.com", "https://a:b@discord.com", "https://discord.com/?x=1"] {
            let base = Url::parse(base).unwrap();
            let rest = Rest::new(&base, token.clone(), RestLimits::default());
            assert_eq!(rest.err(), Some(RestError::Base), "{base}");
        }
    }
}
