//! An event as a handler sees it.

use std::sync::Arc;

use serde::de::DeserializeSeed as _;
use thiserror::Error;
use twilight_model::gateway::event::{
    DispatchEvent, DispatchEventWithTypeDeserializer, EventType, GatewayEvent,
    GatewayEventDeserializer,
};

use super::route::{data_within, guild_of};
use crate::gateway::EventName;
use crate::model::GuildId;

/// A Discord dispatch: its name, its JSON and, unless the bot asked for raw events only, its typed form.
#[derive(Debug)]
pub struct Event {
    name: EventName,
    raw: Arc<String>,
    typed: Option<Box<DispatchEvent>>,
}

/// A payload that twilight's types can't hold.
#[derive(Debug, Error)]
#[error("decode a dispatch: {0}")]
pub struct DecodeError(String);

impl Event {
    /// An event that is not decoded.
    #[must_use]
    pub const fn undecoded(name: EventName, raw: Arc<String>) -> Self {
        Self { name, raw, typed: None }
    }

    /// The same, not decoded.
    pub(crate) fn raw_copy(&self) -> Self {
        Self::undecoded(self.name.clone(), Arc::clone(&self.raw))
    }

    /// Decodes the event, and gives it back undecoded where that can't be done.
    pub(crate) fn decode(name: EventName, raw: Arc<String>) -> Result<Self, (Self, DecodeError)> {
        // A type that twilight does not know is no error: Discord adds types at any time. And twilight 0.18 expects
        // RATE_LIMITED's `meta` in a shape that Discord does not send; resuming would not mend that.
        if matches!(name.kind(), None | Some(EventType::RateLimited)) {
            return Ok(Self::undecoded(name, raw));
        }
        let decoded = match data_of(name.as_str(), &raw).and_then(|data| decode_data(&name, data)) {
            Some(typed) => Ok(typed),
            None => decode(&raw),
        };
        match decoded {
            Ok(typed) => Ok(Self { name, raw, typed: Some(typed) }),
            Err(error) => Err((Self::undecoded(name, raw), error)),
        }
    }

    /// Discord's name of it, such as `MESSAGE_CREATE`.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// The whole payload: `{"op":0,"s":…,"t":…,"d":…}`.
    #[must_use]
    pub fn raw(&self) -> &str {
        &self.raw
    }

    /// What Discord says happened: the payload's `d`, as JSON.
    #[must_use]
    pub fn data(&self) -> Option<&str> {
        data_of(self.name(), &self.raw).or_else(|| data_within(&self.raw))
    }

    /// The guild that it belongs to. It is looked up in the JSON: the type that twilight has for it does not matter.
    #[must_use]
    pub fn guild(&self) -> Option<GuildId> {
        guild_of(self.name(), self.raw())
    }

    /// The event in twilight's types. `None` for a bot that wants raw events, for a type that twilight does not know,
    /// and for a payload that could not be decoded even the second time.
    #[must_use]
    pub fn typed(&self) -> Option<&DispatchEvent> {
        self.typed.as_deref()
    }

    /// The event in twilight's types, to keep.
    #[must_use]
    pub fn into_typed(self) -> Option<DispatchEvent> {
        self.typed.map(|typed| *typed)
    }
}

/// The `d` of a dispatch in the form that Discord gives every one: `{"t":"NAME","s":7,"op":0,"d":…}`.
fn data_of<'a>(name: &str, raw: &'a str) -> Option<&'a str> {
    let rest = raw.strip_prefix(r#"{"t":""#)?.strip_prefix(name)?.strip_prefix(r#"","s":"#)?;
    let rest = rest.get(rest.bytes().take_while(u8::is_ascii_digit).count()..)?;
    rest.strip_prefix(r#","op":0,"d":"#)?.strip_suffix('}')
}

/// The event, without another look for what its envelope says. Whatever stands in the way is for [`decode`] to judge.
fn decode_data(name: &EventName, data: &str) -> Option<Box<DispatchEvent>> {
    let mut json = serde_json::Deserializer::from_str(data);
    let event =
        DispatchEventWithTypeDeserializer::new(name.as_str()).deserialize(&mut json).ok()?;
    json.end().ok()?;
    Some(Box::new(event))
}

fn decode(raw: &str) -> Result<Box<DispatchEvent>, DecodeError> {
    let envelope = GatewayEventDeserializer::from_json(raw)
        .ok_or_else(|| DecodeError("no opcode".to_owned()))?;
    let mut json = serde_json::Deserializer::from_str(raw);
    match envelope.deserialize(&mut json) {
        Ok(GatewayEvent::Dispatch(_, event)) => Ok(Box::new(event)),
        Ok(
            GatewayEvent::Heartbeat
            | GatewayEvent::HeartbeatAck
            | GatewayEvent::Hello(_)
            | GatewayEvent::InvalidateSession(_)
            | GatewayEvent::Reconnect,
        ) => Err(DecodeError("not a dispatch".to_owned())),
        Err(error) => Err(DecodeError(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(name: &str, raw: &str) -> Result<Event, (Event, DecodeError)> {
        Event::decode(EventName::new(name), Arc::new(raw.to_owned()))
    }

    #[test]
    fn a_known_event_is_typed_and_keeps_its_json() {
        let raw = r#"{"op":0,"s":2,"t":"RESUMED","d":{}}"#;

        let event = decoded("RESUMED", raw).unwrap();

        assert_eq!((event.name(), event.raw()), ("RESUMED", raw));
        assert!(matches!(event.typed(), Some(DispatchEvent::Resumed)));
    }

    #[test]
    fn an_event_of_an_unknown_type_is_handed_over_raw() {
        let event = decoded("NEW_THING", r#"{"op":0,"s":2,"t":"NEW_THING","d":{}}"#).unwrap();

        assert!(event.typed().is_none());
    }

    #[test]
    fn an_event_is_the_same_whether_or_not_its_envelope_is_in_discords_form() {
        let data = r#"{"channel_id":"1","guild_id":"2","timestamp":3,"user_id":"4"}"#;
        let [discords, other, more] = [
            format!(r#"{{"t":"TYPING_START","s":7,"op":0,"d":{data}}}"#),
            format!(r#"{{"op":0,"s":7,"d":{data},"t":"TYPING_START"}}"#),
            format!(r#"{{"t":"TYPING_START","s":7,"op":0,"d":{data},"x":{{}}}}"#),
        ];
        let typed = |raw: &str| decoded("TYPING_START", raw).unwrap().into_typed().unwrap();

        assert_eq!(data_of("TYPING_START", &discords), Some(data));
        assert_eq!(data_of("TYPING_START", &other), None);
        assert_eq!(typed(&discords), typed(&other));
        assert_eq!(typed(&discords), typed(&more));
    }

    #[test]
    fn what_follows_the_content_is_judged_as_in_any_other_form() {
        for raw in [
            r#"{"t":"RESUMED","s":7,"op":0,"d":{}}}"#,
            r#"{"t":"RESUMED","s":7,"op":0,"d":{},"d":{}}"#,
            r#"{"t":"RESUMED","s":7,"op":0,"d":{}"#,
            r#"{"t":"TYPING_START","s":7,"op":0,"d":{}}"#,
        ] {
            let name = if raw.contains("RESUMED") { "RESUMED" } else { "TYPING_START" };

            assert_eq!(decoded(name, raw).is_ok(), decode(raw).is_ok(), "{raw}");
        }
    }

    #[test]
    fn a_known_event_of_the_wrong_shape_comes_back_with_its_json() {
        let raw = r#"{"op":0,"s":2,"t":"MESSAGE_CREATE","d":{"id":[]}}"#;

        let (event, error) = decoded("MESSAGE_CREATE", raw).unwrap_err();

        assert_eq!(event.raw(), raw);
        assert!(error.to_string().starts_with("decode a dispatch: "));
    }
}
