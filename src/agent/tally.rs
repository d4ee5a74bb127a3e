//! How many guilds and members a shard sees, counted from the events that say so.

use std::collections::{HashMap, VecDeque};

use serde::Deserialize;
use twilight_model::gateway::event::EventType;

use crate::bot::guild_of;
use crate::gateway::EventName;
use crate::model::{GuildId, Sequence};

/// A shard's guilds and their members.
///
/// READY and GUILD_CREATE fill it. A RESUME brings neither, so a restarted node goes on from the totals that it
/// reported last: a guild that it has not seen itself counts with the average of the others when it leaves.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Members of the guilds seen by this process; `None` while a guild is unavailable and was never seen.
    seen: HashMap<GuildId, Option<u64>>,
    /// Guilds and members from before this process.
    inherited: Totals,
    members: u64,
    /// The last event taken in: what Discord replays behind a rewind is not counted twice.
    counted: Sequence,
    /// The totals behind events that are not handled yet.
    ahead: VecDeque<(Sequence, Totals)>,
    /// The totals as of the checkpoint.
    settled: Totals,
}

/// Guilds and members.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Totals {
    /// Guilds.
    pub guilds: u32,
    /// Members of all of them.
    pub members: u64,
}

impl Tally {
    /// Goes on from what was reported before.
    pub(crate) fn inherit(inherited: Totals) -> Self {
        Self { inherited, settled: inherited, ..Self::default() }
    }

    /// The totals as of the checkpoint `handled`: a process that goes on from there counts what is replayed behind it.
    pub(crate) fn settle(&mut self, handled: Sequence) -> Totals {
        while let Some((sequence, totals)) = self.ahead.front()
            && *sequence <= handled
        {
            self.settled = *totals;
            self.ahead.pop_front();
        }
        self.settled
    }

    /// A new session counts its sequences from 1.
    pub(crate) fn begin_session(&mut self) {
        self.counted = Sequence::default();
        self.ahead.clear();
    }

    fn totals(&self) -> Totals {
        let seen = u32::try_from(self.seen.len()).unwrap_or(u32::MAX);
        Totals {
            guilds: self.inherited.guilds.saturating_add(seen),
            members: self.inherited.members + self.members,
        }
    }

    /// Whether an event of this name can change the totals, so that others need not be read.
    pub(crate) const fn counts(name: &EventName) -> bool {
        matches!(
            name.kind(),
            Some(
                EventType::Ready
                    | EventType::GuildCreate
                    | EventType::GuildDelete
                    | EventType::MemberAdd
                    | EventType::MemberRemove
            )
        )
    }

    /// Takes in an event for which [`Tally::counts`].
    pub(crate) fn observe(&mut self, name: &str, json: &str, sequence: Sequence) {
        if sequence <= self.counted {
            return;
        }
        self.counted = sequence;
        let before = self.totals();
        self.count(name, json);
        if self.totals() != before {
            self.ahead.push_back((sequence, self.totals()));
        }
    }

    fn count(&mut self, name: &str, json: &str) {
        match name {
            "READY" => self.ready(json),
            "GUILD_CREATE" => {
                if let Some(guild) = parse::<Guild>(json) {
                    self.set(guild.id(), guild.member_count);
                }
            }
            "GUILD_DELETE" => {
                if let Some(guild) = parse::<Guild>(json)
                    && guild.unavailable != Some(true)
                {
                    self.leave(guild.id());
                }
            }
            "GUILD_MEMBER_ADD" => self.member(name, json, 1),
            "GUILD_MEMBER_REMOVE" => self.member(name, json, -1),
            _ => {}
        }
    }

    /// A new session lists every guild, so nothing inherited counts any longer.
    fn ready(&mut self, json: &str) {
        let Some(ready) = parse::<Ready>(json) else {
            return;
        };
        self.inherited = Totals::default();
        self.members = 0;
        self.seen = ready.guilds.iter().map(|guild| (guild.id(), None)).collect();
    }

    fn set(&mut self, guild: GuildId, members: Option<u64>) {
        let before = self.seen.insert(guild, members);
        let inherited = before.is_none() && self.inherited.guilds > 0;
        if inherited {
            self.disinherit();
        }
        let before = before.flatten().unwrap_or(0);
        self.members = (self.members + members.unwrap_or(0)).saturating_sub(before);
    }

    fn leave(&mut self, guild: GuildId) {
        match self.seen.remove(&guild) {
            Some(members) => self.members = self.members.saturating_sub(members.unwrap_or(0)),
            None => self.disinherit(),
        }
    }

    /// One of the guilds from before this process has gone, or is known from here on.
    fn disinherit(&mut self) {
        let Totals { guilds, members } = self.inherited;
        let average = members.checked_div(u64::from(guilds)).unwrap_or(0);
        self.inherited = Totals { guilds: guilds.saturating_sub(1), members: members - average };
    }

    fn member(&mut self, name: &str, json: &str, change: i64) {
        let Some(guild) = guild_of(name, json) else {
            return;
        };
        let total = match self.seen.get_mut(&guild) {
            Some(Some(members)) => {
                *members = members.saturating_add_signed(change);
                &mut self.members
            }
            Some(None) => return,
            None => &mut self.inherited.members,
        };
        *total = total.saturating_add_signed(change);
    }
}

fn parse<'a, T: Deserialize<'a>>(json: &'a str) -> Option<T> {
    serde_json::from_str::<Payload<T>>(json).ok().map(|payload| payload.d)
}

#[derive(Deserialize)]
struct Payload<T> {
    d: T,
}

#[derive(Deserialize)]
struct Ready {
    guilds: Vec<Guild>,
}

#[derive(Deserialize)]
struct Guild {
    id: Snowflake,
    unavailable: Option<bool>,
    member_count: Option<u64>,
}

impl Guild {
    const fn id(&self) -> GuildId {
        GuildId(self.id.0)
    }
}

/// Discord writes snowflakes as strings.
#[derive(Clone, Copy)]
struct Snowflake(u64);

impl<'de> Deserialize<'de> for Snowflake {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map(Self).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn observe(tally: &mut Tally, name: &str, data: Value) -> (u32, u64) {
        assert!(Tally::counts(&EventName::new(name)));
        let sequence = tally.counted.next();
        let json = json!({"op": 0, "s": sequence, "t": name, "d": data}).to_string();
        tally.observe(name, &json, sequence);
        let Totals { guilds, members } = tally.totals();
        (guilds, members)
    }

    fn create(id: &str, members: u64) -> Value {
        json!({"id": id, "unavailable": false, "member_count": members, "channels": [{"id": "7"}]})
    }

    #[test]
    fn a_new_session_counts_its_guilds_as_they_come() {
        let mut tally = Tally::inherit(Totals { guilds: 9, members: 900 });
        let guilds = json!({"guilds": [
            {"id": "1", "unavailable": true}, {"id": "2", "unavailable": true}
        ]});

        assert_eq!(observe(&mut tally, "READY", guilds), (2, 0));
        assert_eq!(observe(&mut tally, "GUILD_CREATE", create("1", 50)), (2, 50));
        assert_eq!(observe(&mut tally, "GUILD_CREATE", create("2", 5)), (2, 55));
        assert_eq!(observe(&mut tally, "GUILD_CREATE", create("3", 1)), (3, 56));
    }

    #[test]
    fn an_outage_is_no_leave() {
        let mut tally = Tally::default();
        observe(&mut tally, "GUILD_CREATE", create("1", 50));

        assert_eq!(
            observe(&mut tally, "GUILD_DELETE", json!({"id": "1", "unavailable": true})),
            (1, 50)
        );
        assert_eq!(observe(&mut tally, "GUILD_CREATE", create("1", 52)), (1, 52));
        assert_eq!(observe(&mut tally, "GUILD_DELETE", json!({"id": "1"})), (0, 0));
    }

    #[test]
    fn members_come_and_go() {
        let mut tally = Tally::default();
        observe(&mut tally, "GUILD_CREATE", create("1", 50));

        assert_eq!(observe(&mut tally, "GUILD_MEMBER_ADD", json!({"guild_id": "1"})), (1, 51));
        assert_eq!(observe(&mut tally, "GUILD_MEMBER_REMOVE", json!({"guild_id": "1"})), (1, 50));
    }

    #[test]
    fn a_resumed_shard_goes_on_from_what_was_reported() {
        let mut tally = Tally::inherit(Totals { guilds: 10, members: 1_000 });

        assert_eq!(observe(&mut tally, "GUILD_MEMBER_ADD", json!({"guild_id": "5"})), (10, 1_001));
        assert_eq!(observe(&mut tally, "GUILD_DELETE", json!({"id": "5"})), (9, 901));
    }

    #[test]
    fn the_totals_of_a_checkpoint_leave_out_what_is_not_handled_yet() {
        let mut tally = Tally::default();
        observe(&mut tally, "GUILD_CREATE", create("1", 50));
        observe(&mut tally, "GUILD_CREATE", create("2", 5));

        assert_eq!(tally.settle(Sequence(1)), Totals { guilds: 1, members: 50 });
        assert_eq!(tally.settle(Sequence(2)), Totals { guilds: 2, members: 55 });
    }

    #[test]
    fn a_replayed_event_is_not_counted_twice() {
        let mut tally = Tally::default();
        observe(&mut tally, "GUILD_CREATE", create("1", 50));
        observe(&mut tally, "GUILD_MEMBER_ADD", json!({"guild_id": "1"}));

        let join = json!({"d": {"guild_id": "1"}}).to_string();
        tally.observe("GUILD_MEMBER_ADD", &join, Sequence(2));

        assert_eq!(tally.totals().members, 51);
    }
}
