//! What a client may send, and when: payload in, request or violation out.

use std::{collections::VecDeque, time::Duration};

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use tokio::time::Instant;
use twilight_model::gateway::Intents;

use super::{
    rules::{Rule, Violation},
    session::{Compression, Transport},
    world::MembersQuery,
};
use crate::model::{GuildId, ShardId, ShardTotal};

/// What has been said on a connection so far.
#[derive(Debug, Default)]
pub(super) struct Protocol {
    /// IDENTIFY or RESUME went through.
    authenticated: bool,
    /// When the payloads of the last minute came; never more than [`SENDS_MAX`].
    sends: VecDeque<Instant>,
}

/// A payload that Discord would act upon.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Request {
    /// Op 1.
    Heartbeat(Option<u64>),
    /// Op 2.
    Identify(Identify),
    /// Op 6.
    Resume(Resume),
    /// Op 8.
    Members(MembersQuery),
    /// Op 31.
    Sounds(Vec<GuildId>),
    /// Op 3 and 4, which need no answer.
    Noted,
}

/// Op 2, read but not checked: a refused IDENTIFY counts too.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Identify {
    pub token: String,
    pub shard: (u64, u64),
    /// `None` where it is missing or no number.
    pub intents: Option<u64>,
}

/// Op 6.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
pub(super) struct Resume {
    pub token: String,
    pub session_id: String,
    pub seq: u64,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    op: u64,
    #[serde(borrow)]
    d: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct IdentifyData {
    token: String,
    #[expect(dead_code, reason = "it must be an object, whatever is in it")]
    properties: serde_json::Map<String, serde_json::Value>,
    shard: Option<(u64, u64)>,
    intents: Option<serde_json::Value>,
    large_threshold: Option<u64>,
}

#[derive(Deserialize)]
struct MembersData {
    guild_id: String,
    query: Option<String>,
    limit: Option<u32>,
    user_ids: Option<UserIds>,
    nonce: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum UserIds {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize)]
struct SoundsData {
    guild_ids: Vec<String>,
}

impl Protocol {
    /// Looks at a payload.
    ///
    /// # Errors
    ///
    /// The rule that it breaks: the connection is closed with the code that comes with it.
    pub(super) fn receive(&mut self, payload: &[u8], now: Instant) -> Result<Request, Violation> {
        self.count(now)?;
        if payload.len() > PAYLOAD_MAX {
            let detail = format!("{} bytes", payload.len());
            return Err(Violation::new(Rule::PayloadSize, 4002, detail));
        }
        let envelope: Envelope<'_> = serde_json::from_slice(payload)
            .map_err(|error| Violation::new(Rule::Payload, 4002, error.to_string()))?;
        let data = envelope.d.map_or("null", RawValue::get);
        self.check_order(envelope.op)?;
        match envelope.op {
            1 => parse(data).map(Request::Heartbeat),
            2 => identify(data).map(Request::Identify),
            3 | 4 => {
                parse::<serde_json::Map<String, serde_json::Value>>(data).map(|_| Request::Noted)
            }
            6 => parse(data).map(Request::Resume),
            8 => members(data).map(Request::Members),
            31 => sounds(data).map(Request::Sounds),
            op => Err(Violation::new(Rule::Opcode, 4001, format!("op {op}"))),
        }
    }

    /// IDENTIFY or RESUME went through.
    pub(super) const fn authenticate(&mut self) {
        self.authenticated = true;
    }

    fn check_order(&self, op: u64) -> Result<(), Violation> {
        match op {
            2 | 6 if self.authenticated => {
                let detail = format!("op {op} after IDENTIFY or RESUME");
                Err(Violation::new(Rule::AlreadyAuthenticated, 4005, detail))
            }
            3 | 4 | 8 | 31 if !self.authenticated => {
                let detail = format!("op {op} before IDENTIFY or RESUME");
                Err(Violation::new(Rule::NotAuthenticated, 4003, detail))
            }
            _ => Ok(()),
        }
    }

    fn count(&mut self, now: Instant) -> Result<(), Violation> {
        while self.sends.front().is_some_and(|&sent| now >= sent + SENDS_PERIOD) {
            self.sends.pop_front();
        }
        if self.sends.len() >= SENDS_MAX {
            let detail = format!("{} payloads in {SENDS_PERIOD:?}", SENDS_MAX + 1);
            return Err(Violation::new(Rule::SendRate, 4008, detail));
        }
        self.sends.push_back(now);
        Ok(())
    }
}

/// Reads `v`, `encoding` and `compress` of the gateway's URL.
///
/// # Errors
///
/// A [`Rule::Version`] violation is told with 4012; a [`Rule::Encoding`] one with status 400, before the upgrade.
pub(super) fn transport(query: &str) -> Result<Transport, Violation> {
    let value = |name: &str| {
        url::form_urlencoded::parse(query.as_bytes())
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
    };
    let encoding = value("encoding").unwrap_or_else(|| "json".to_owned());
    if encoding != "json" {
        let detail = format!("encoding={encoding}: the simulator speaks json");
        return Err(Violation::new(Rule::Encoding, 4000, detail));
    }
    let compression = match value("compress").as_deref() {
        None | Some("") => Compression::None,
        Some("zlib-stream") => Compression::Zlib,
        Some("zstd-stream") => Compression::Zstd,
        Some(other) => {
            return Err(Violation::new(Rule::Encoding, 4000, format!("compress={other}")));
        }
    };
    let version = value("v").unwrap_or_default();
    match version.parse() {
        Ok(version @ 9..=10) => Ok(Transport { version, compression }),
        _ => Err(Violation::new(Rule::Version, 4012, format!("v={version}"))),
    }
}

/// How a connection is spoken to until it is closed for asking for a version that does not exist.
pub(super) const FALLBACK: Transport = Transport { version: 10, compression: Compression::None };

fn parse<T: DeserializeOwned>(data: &str) -> Result<T, Violation> {
    serde_json::from_str(data)
        .map_err(|error| Violation::new(Rule::Payload, 4002, error.to_string()))
}

fn identify(data: &str) -> Result<Identify, Violation> {
    let data: IdentifyData = parse(data)?;
    if data.large_threshold.is_some_and(|threshold| !(50..=250).contains(&threshold)) {
        return Err(Violation::new(
            Rule::Payload,
            4002,
            "large_threshold is not within 50 and 250",
        ));
    }
    let intents = data.intents.as_ref().and_then(serde_json::Value::as_u64);
    Ok(Identify { token: data.token, shard: data.shard.unwrap_or((0, 1)), intents })
}

impl Identify {
    /// The shard and the intents, if Discord would take them.
    ///
    /// # Errors
    ///
    /// 4010, 4013 and 4014.
    pub(super) fn check(
        &self,
        shard_multiple: u32,
        disallowed_intents: u64,
    ) -> Result<(ShardId, ShardTotal, u64), Violation> {
        let (id, total) = self.shard;
        let bad_shard = || Violation::new(Rule::Shard, 4010, format!("shard [{id}, {total}]"));
        let id = u32::try_from(id).map_err(|_| bad_shard())?;
        let total = u32::try_from(total).ok().and_then(|total| ShardTotal::new(total).ok());
        let total = total
            .filter(|total| id < total.get() && total.get() % shard_multiple.max(1) == 0)
            .ok_or_else(bad_shard)?;
        let intents = self.intents.filter(|bits| bits & !Intents::all().bits() == 0);
        let intents = intents.ok_or_else(|| {
            Violation::new(Rule::Intents, 4013, format!("intents {:?}", self.intents))
        })?;
        if intents & disallowed_intents != 0 {
            let detail = format!("intents {intents}, of which {disallowed_intents} are disallowed");
            return Err(Violation::new(Rule::DisallowedIntents, 4014, detail));
        }
        Ok((ShardId(id), total, intents))
    }
}

fn members(data: &str) -> Result<MembersQuery, Violation> {
    let data: MembersData = parse(data)?;
    let users = match data.user_ids {
        None => Vec::new(),
        Some(UserIds::One(user)) => vec![snowflake(&user)?],
        Some(UserIds::Many(users)) => {
            users.iter().map(|user| snowflake(user)).collect::<Result<_, _>>()?
        }
    };
    if users.is_empty() && data.query.is_none() {
        return Err(Violation::new(Rule::Payload, 4002, "neither query nor user_ids"));
    }
    if users.len() > 100 {
        return Err(Violation::new(Rule::Payload, 4002, "more than 100 user_ids"));
    }
    Ok(MembersQuery {
        guild: GuildId(snowflake(&data.guild_id)?),
        prefix: data.query.unwrap_or_default(),
        limit: data.limit.unwrap_or(0),
        users,
        // A longer nonce is ignored (Gateway docs, "Request Guild Members").
        nonce: data.nonce.filter(|nonce| nonce.len() <= 32),
    })
}

fn sounds(data: &str) -> Result<Vec<GuildId>, Violation> {
    let data: SoundsData = parse(data)?;
    data.guild_ids.iter().map(|guild| snowflake(guild).map(GuildId)).collect()
}

fn snowflake(text: &str) -> Result<u64, Violation> {
    text.parse().map_err(|_| Violation::new(Rule::Payload, 4002, format!("snowflake {text:?}")))
}

/// The largest payload that a client may send (Gateway docs, "Sending Events").
pub(super) const PAYLOAD_MAX: usize = 4_096;

/// So many payloads … (Gateway docs, "Rate Limiting")
pub(super) const SENDS_MAX: usize = 120;

/// … in so long, on one connection.
const SENDS_PERIOD: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    const IDENTIFY: &str =
        r#"{"op":2,"d":{"token":"t","properties":{},"shard":[1,4],"intents":513,"new":1}}"#;

    fn code(protocol: &mut Protocol, payload: &str) -> u16 {
        protocol.receive(payload.as_bytes(), Instant::now()).unwrap_err().code
    }

    fn open() -> Protocol {
        let mut protocol = Protocol::default();
        protocol.authenticate();
        protocol
    }

    #[test]
    fn heartbeats_are_allowed_at_any_time() {
        for mut protocol in [Protocol::default(), open()] {
            let beat = protocol.receive(br#"{"op":1,"d":null}"#, Instant::now());

            assert_eq!(beat, Ok(Request::Heartbeat(None)));
        }
    }

    #[test]
    fn an_identify_is_read_and_unknown_keys_are_ignored() {
        let request = Protocol::default().receive(IDENTIFY.as_bytes(), Instant::now());

        let expected = Identify { token: "t".into(), shard: (1, 4), intents: Some(513) };
        assert_eq!(request, Ok(Request::Identify(expected)));
    }

    #[test]
    fn order_matters() {
        assert_eq!(code(&mut Protocol::default(), r#"{"op":3,"d":{}}"#), 4003);
        assert_eq!(code(&mut open(), IDENTIFY), 4005);
        let resume = r#"{"op":6,"d":{"token":"t","session_id":"s","seq":1}}"#;
        assert_eq!(code(&mut open(), resume), 4005);
    }

    #[test]
    fn what_can_not_be_read_has_its_code() {
        let long = format!(r#"{{"op":1,"d":null,"x":"{}"}}"#, "x".repeat(PAYLOAD_MAX));
        let cases = [
            (long.as_str(), 4002),
            ("{", 4002),
            ("[]", 4002),
            (r#"{"d":1}"#, 4002),
            (r#"{"op":1,"d":"x"}"#, 4002),
            (r#"{"op":99,"d":null}"#, 4001),
            (r#"{"op":0,"d":null}"#, 4001),
            (r#"{"op":2,"d":{"token":"t"}}"#, 4002),
        ];

        for (payload, expected) in cases {
            assert_eq!(code(&mut Protocol::default(), payload), expected, "{payload:.80}");
        }
    }

    #[test]
    fn an_identify_with_a_wrong_shard_or_wrong_intents_has_its_code() {
        let check = |shard, intents, multiple, disallowed| {
            let identify = Identify { token: "t".into(), shard, intents };
            identify.check(multiple, disallowed).map_err(|violation| violation.code)
        };

        assert_eq!(check((3, 4), Some(1), 2, 2), Ok((ShardId(3), ShardTotal::new(4).unwrap(), 1)));
        assert_eq!(check((4, 4), Some(1), 1, 0), Err(4010));
        assert_eq!(check((0, 0), Some(1), 1, 0), Err(4010));
        assert_eq!(check((0, 5), Some(1), 2, 0), Err(4010));
        assert_eq!(check((u64::MAX, u64::MAX), Some(1), 1, 0), Err(4010));
        assert_eq!(check((0, 1), None, 1, 0), Err(4013));
        assert_eq!(check((0, 1), Some(1 << 40), 1, 0), Err(4013));
        assert_eq!(check((0, 1), Some(3), 1, 2), Err(4014));
    }

    #[test]
    fn the_121st_payload_of_a_minute_is_one_too_many() {
        let start = Instant::now();
        let mut protocol = Protocol::default();
        let mut beat = |at| protocol.receive(br#"{"op":1,"d":1}"#, at);

        assert!((0..SENDS_MAX).all(|_| beat(start).is_ok()));
        let rule = beat(start + Duration::from_secs(59)).unwrap_err();
        let later = beat(start + SENDS_PERIOD);

        assert_eq!((rule.rule, rule.code), (Rule::SendRate, 4008));
        assert!(later.is_ok());
    }

    #[test]
    fn the_query_says_how_the_connection_speaks() {
        let zstd = Transport { version: 10, compression: Compression::Zstd };
        assert_eq!(transport("v=10&encoding=json&compress=zstd-stream"), Ok(zstd));
        assert_eq!(transport("v=9").unwrap().compression, Compression::None);
        assert_eq!(transport("v=5&encoding=json").unwrap_err().code, 4012);
        assert_eq!(transport("encoding=json").unwrap_err().rule, Rule::Version);
        assert_eq!(transport("v=10&encoding=etf").unwrap_err().rule, Rule::Encoding);
        assert_eq!(transport("v=10&compress=lzma").unwrap_err().rule, Rule::Encoding);
    }
}
