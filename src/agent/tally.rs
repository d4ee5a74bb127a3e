//! How many guilds and members a shard sees, counted from the events that say so.

use std::collections::BTreeMap;

use serde::Deserialize;
use twilight_model::gateway::event::EventType;

use crate::bot::guild_of;
use crate::gateway::EventName;
use crate::model::{GuildId, Sequence, SessionNumber};
use crate::state::{GuildSize, Roster};

/// A shard's guilds and their members.
///
/// READY and GUILD_CREATE fill it. A RESUME brings neither, so whoever takes the shard over goes on from the roster that
/// the cluster has. Members who come and go are heard of with the intent `GUILD_MEMBERS` alone; without it a guild's
/// count is what its GUILD_CREATE said.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Members by guild; `None` while a guild is unavailable and was never seen.
    guilds: BTreeMap<GuildId, Option<u32>>,
    members: u64,
    /// The last event taken in: what Discord replays behind a rewind is not counted twice.
    counted: Sequence,
}

/// Guilds and members.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Totals {
    /// Guilds.
    pub guilds: u32,
    /// Members of all of them.
    pub members: u64,
}

/// What an event has changed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Counted {
    /// These are all guilds.
    All(Vec<GuildSize>),
    /// A guild is here, with so many members.
    Here(GuildSize),
    /// The bot is in a guild no more.
    Gone(GuildId),
}

impl Tally {
    /// Goes on from what was counted before. Of the session that is `resumed` some may be replayed that is counted
    /// already; any other session brings its guilds anew.
    pub(crate) fn inherit(roster: Option<&Roster>, resumed: Option<SessionNumber>) -> Self {
        let counted = roster.map(Roster::counted).filter(|it| Some(it.session) == resumed);
        let counted = counted.unwrap_or_default().sequence;
        let sizes = roster.map(Roster::guilds).unwrap_or_default();
        let guilds: BTreeMap<_, _> = sizes.iter().map(|size| (size.guild, size.members)).collect();
        Self { members: sum(guilds.values()), guilds, counted }
    }

    /// A new session counts its sequences from 1. What was known of its guilds holds until its READY and their
    /// GUILD_CREATEs come.
    pub(crate) fn begin_session(&mut self) {
        self.counted = Sequence::default();
    }

    /// What is counted now: it may be ahead of what is handled.
    pub(crate) fn totals(&self) -> Totals {
        let guilds = u32::try_from(self.guilds.len()).unwrap_or(u32::MAX);
        Totals { guilds, members: self.members }
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

    /// Takes in an event for which [`Tally::counts`]. Says what it has changed.
    pub(crate) fn observe(
        &mut self,
        name: &str,
        json: &str,
        sequence: Sequence,
    ) -> Option<Counted> {
        if sequence <= self.counted {
            return None;
        }
        self.counted = sequence;
        match name {
            "READY" => self.ready(&parse::<Ready>(json)?),
            "GUILD_CREATE" => {
                let guild: Guild = parse(json)?;
                self.set(guild.id(), guild.member_count)
            }
            "GUILD_DELETE" => {
                let guild: Guild = parse(json)?;
                // An outage is no leave.
                (guild.unavailable != Some(true)).then(|| self.leave(guild.id()))?
            }
            "GUILD_MEMBER_ADD" => self.member(guild_of(name, json)?, 1),
            "GUILD_MEMBER_REMOVE" => self.member(guild_of(name, json)?, -1),
            _ => None,
        }
    }

    /// A new session lists every guild. What was known of their members is a better guess than none.
    fn ready(&mut self, ready: &Ready) -> Option<Counted> {
        let before = std::mem::take(&mut self.guilds);
        let known = |id| before.get(&id).copied().flatten();
        self.guilds = ready.guilds.iter().map(|guild| (guild.id(), known(guild.id()))).collect();
        self.members = sum(self.guilds.values());
        let all = self.guilds.iter().map(|(guild, members)| size(*guild, *members));
        Some(Counted::All(all.collect()))
    }

    /// A guild that comes while it is unavailable says nothing of its members.
    fn set(&mut self, guild: GuildId, members: Option<u32>) -> Option<Counted> {
        let before = self.guilds.get(&guild).copied();
        let members = members.or_else(|| before.flatten());
        if before == Some(members) {
            return None;
        }
        self.guilds.insert(guild, members);
        self.members += count(members);
        self.members -= count(before.flatten());
        Some(Counted::Here(size(guild, members)))
    }

    fn leave(&mut self, guild: GuildId) -> Option<Counted> {
        let members = self.guilds.remove(&guild)?;
        self.members -= count(members);
        Some(Counted::Gone(guild))
    }

    fn member(&mut self, guild: GuildId, change: i32) -> Option<Counted> {
        let members = (*self.guilds.get(&guild)?)?;
        self.set(guild, Some(members.saturating_add_signed(change)))
    }
}

const fn size(guild: GuildId, members: Option<u32>) -> GuildSize {
    GuildSize { guild, members }
}

fn count(members: Option<u32>) -> u64 {
    members.map_or(0, u64::from)
}

fn sum<'a>(members: impl Iterator<Item = &'a Option<u32>>) -> u64 {
    members.copied().map(count).sum()
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
    member_count: Option<u32>,
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
    use crate::model::{
        ApplicationId, BootEpoch, Checkpoint, ClusterId, Epoch, LogIndex, NodeId, Session,
        SessionId, ShardId, ShardTotal,
    };
    use crate::state::{Command, Facts, Move, Outcome, RosterReport, State};

    fn tell(tally: &mut Tally, name: &str, data: &Value) -> Option<Counted> {
        assert!(Tally::counts(&EventName::new(name)));
        let sequence = tally.counted.next();
        let json = json!({"op": 0, "s": sequence, "t": name, "d": data}).to_string();
        tally.observe(name, &json, sequence)
    }

    fn observe(tally: &mut Tally, name: &str, data: Value) -> (u32, u64) {
        tell(tally, name, &data);
        let Totals { guilds, members } = tally.totals();
        (guilds, members)
    }

    fn create(id: &str, members: u64) -> Value {
        json!({"id": id, "unavailable": false, "member_count": members, "channels": [{"id": "7"}]})
    }

    #[test]
    fn a_new_session_counts_its_guilds_as_they_come() {
        let mut tally = Tally::default();
        observe(&mut tally, "GUILD_CREATE", create("9", 900));
        tally.begin_session();
        let guilds = json!({"guilds": [
            {"id": "1", "unavailable": true}, {"id": "2", "unavailable": true}
        ]});

        assert_eq!(observe(&mut tally, "READY", guilds), (2, 0));
        assert_eq!(observe(&mut tally, "GUILD_CREATE", create("1", 50)), (2, 50));
        assert_eq!(observe(&mut tally, "GUILD_CREATE", create("2", 5)), (2, 55));
        assert_eq!(observe(&mut tally, "GUILD_CREATE", create("3", 1)), (3, 56));
    }

    #[test]
    fn what_was_known_of_a_guild_holds_until_the_new_session_tells_of_it() {
        let mut tally = Tally::default();
        observe(&mut tally, "GUILD_CREATE", create("1", 50));
        observe(&mut tally, "GUILD_CREATE", create("2", 5));
        tally.begin_session();

        let ready = json!({"guilds": [{"id": "1", "unavailable": true}]});
        let counted = tell(&mut tally, "READY", &ready);

        assert_eq!(counted, Some(Counted::All(vec![size(GuildId(1), Some(50))])));
        assert_eq!(observe(&mut tally, "GUILD_CREATE", create("1", 40)), (1, 40));
    }

    #[test]
    fn an_outage_is_no_leave() {
        let mut tally = Tally::default();
        observe(&mut tally, "GUILD_CREATE", create("1", 50));
        let outage = json!({"id": "1", "unavailable": true});

        assert_eq!(observe(&mut tally, "GUILD_DELETE", outage.clone()), (1, 50));
        assert_eq!(observe(&mut tally, "GUILD_CREATE", outage), (1, 50));
        assert_eq!(observe(&mut tally, "GUILD_CREATE", create("1", 52)), (1, 52));
        assert_eq!(observe(&mut tally, "GUILD_DELETE", json!({"id": "1"})), (0, 0));
    }

    #[test]
    fn members_come_and_go() {
        let mut tally = Tally::default();
        observe(&mut tally, "GUILD_CREATE", create("1", 50));

        assert_eq!(observe(&mut tally, "GUILD_MEMBER_ADD", json!({"guild_id": "1"})), (1, 51));
        assert_eq!(observe(&mut tally, "GUILD_MEMBER_REMOVE", json!({"guild_id": "1"})), (1, 50));
        assert_eq!(observe(&mut tally, "GUILD_MEMBER_ADD", json!({"guild_id": "2"})), (1, 50));
    }

    #[test]
    fn only_what_changes_is_told() {
        let mut tally = Tally::default();
        let told = tell(&mut tally, "GUILD_CREATE", &create("1", 50));

        assert_eq!(told, Some(Counted::Here(size(GuildId(1), Some(50)))));
        assert_eq!(tell(&mut tally, "GUILD_CREATE", &create("1", 50)), None);
        assert_eq!(tell(&mut tally, "GUILD_DELETE", &json!({"id": "2"})), None);
        let gone = tell(&mut tally, "GUILD_DELETE", &json!({"id": "1"}));
        assert_eq!(gone, Some(Counted::Gone(GuildId(1))));
    }

    /// A state in which guild 1 has 50 members, as of sequence 7 of session 2.
    fn counted() -> State {
        let (shard, node, boot) = (ShardId(0), NodeId(1), BootEpoch(1));
        let facts = Facts { application: ApplicationId(1), total: ShardTotal::ONE, intents: 0 };
        let epoch = Epoch { generation: 1, index: LogIndex(4) };
        let (number, id) = (SessionNumber(2), SessionId("s".into()));
        let session = Session { number, id, resume_url: String::new() };
        let at = Checkpoint { session: number, sequence: Sequence(7) };
        let here = vec![size(GuildId(1), Some(50))];
        let report =
            RosterReport { shard, epoch, counted: at, whole: true, here, gone: Vec::new() };
        let mut state = State::default();
        let commands = [
            Command::Form { cluster: ClusterId(uuid::Uuid::from_u128(1)) },
            Command::StartNode { node, name: String::new(), boot },
            Command::FixFacts(facts),
            Command::Assign(vec![Move { shard, from: None, to: node }]),
            Command::StartSession { shard, epoch, session },
            Command::CountGuilds(vec![report]),
        ];
        for (index, command) in (1..).zip(commands) {
            assert_eq!(state.apply(LogIndex(index), command), Outcome::Applied);
        }
        state
    }

    #[test]
    fn an_heir_does_not_count_again_what_is_replayed_to_it() {
        let state = counted();
        let roster = state.rosters().get(&ShardId(0));
        let join = json!({"d": {"guild_id": "1"}}).to_string();

        let mut tally = Tally::inherit(roster, Some(SessionNumber(2)));
        assert_eq!(tally.totals(), Totals { guilds: 1, members: 50 });
        assert_eq!(tally.observe("GUILD_MEMBER_ADD", &join, Sequence(7)), None);
        assert!(tally.observe("GUILD_MEMBER_ADD", &join, Sequence(8)).is_some());
        assert_eq!(tally.totals().members, 51);

        for another in [None, Some(SessionNumber(3))] {
            let mut tally = Tally::inherit(roster, another);
            assert!(tally.observe("GUILD_MEMBER_ADD", &join, Sequence(1)).is_some());
        }
    }

    #[test]
    fn a_replayed_event_is_not_counted_twice() {
        let mut tally = Tally::default();
        observe(&mut tally, "GUILD_CREATE", create("1", 50));
        observe(&mut tally, "GUILD_MEMBER_ADD", json!({"guild_id": "1"}));

        let join = json!({"d": {"guild_id": "1"}}).to_string();
        assert_eq!(tally.observe("GUILD_MEMBER_ADD", &join, Sequence(2)), None);

        assert_eq!(tally.totals().members, 51);
    }
}
