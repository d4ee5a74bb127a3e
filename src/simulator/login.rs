//! IDENTIFY and RESUME: who gets a session.

use std::sync::Arc;

use tokio::{sync::Notify, time::Instant};
use twilight_model::gateway::Intents;
use uuid::Uuid;

use super::{
    connection::Line,
    core::{Core, lock},
    fault::{Fault, Step},
    identify::Verdict,
    payload,
    protocol::{Identify, Resume},
    rules::{Rule, Violation},
    session::{Body, ResumeError, Session},
    shard::{Member, Shard, ShardState},
    truth::{IdentifyTruth, ResumeTruth, SessionEnd},
    world::bot_id,
    writer::Attached,
};
use crate::model::{DISCORD_GUILDS_PER_SHARD_MAX, ShardId, ShardTotal};

/// What becomes of an IDENTIFY, of a RESUME, or of a client that waits for HELLO.
#[derive(Debug)]
pub(super) enum Answer {
    /// It has a session: READY or RESUMED comes with the session's dispatches.
    Attach(Attached),
    /// Op 9.
    InvalidSession(bool),
    /// Op 7.
    Reconnect,
    /// A close frame.
    Close(Option<u16>),
    /// The TCP connection ends, with RST or FIN.
    Cut { reset: bool },
    /// Nothing.
    Silence,
}

impl Answer {
    /// What a fault answers instead.
    #[expect(clippy::wildcard_enum_match_arm, reason = "every other fault is one of silence")]
    pub(super) const fn of(fault: &Fault) -> Self {
        match fault {
            Fault::Reconnect { .. } => Self::Reconnect,
            Fault::InvalidSession { resumable, .. } => Self::InvalidSession(*resumable),
            Fault::Close { code, .. } => Self::Close(*code),
            Fault::Reset { .. } => Self::Cut { reset: true },
            Fault::Eof { .. } => Self::Cut { reset: false },
            _ => Self::Silence,
        }
    }
}

/// A refusal: what the client sees, and the log's word for it.
type Refusal = (Answer, String);

/// Answers an IDENTIFY.
pub(super) fn identify(line: &Line, identify: &Identify) -> Answer {
    let core = &line.core;
    let at_ms = core.now_ms();
    let outcome = admit(line, identify);
    let shard = u32::try_from(identify.shard.0).unwrap_or(u32::MAX);
    let total = u32::try_from(identify.shard.1).unwrap_or(u32::MAX);
    core.note(line.id, |truth| {
        truth.shard = Some((shard, total));
        if let Ok(attached) = &outcome {
            truth.session = Some(attached.session.clone());
            truth.established_ms = Some(at_ms);
        }
    });
    let bucket = lock(&core.ledger).bucket(ShardId(shard));
    let (answer, outcome) = match outcome {
        Ok(attached) => (Answer::Attach(attached.clone()), Ok(attached.session)),
        Err((answer, reason)) => (answer, Err(reason)),
    };
    let record = IdentifyTruth { at_ms, connection: line.id, shard, total, bucket, outcome };
    lock(&core.log).identified(record);
    answer
}

fn admit(line: &Line, identify: &Identify) -> Result<Attached, Refusal> {
    let core = &line.core;
    if !core.knows(&identify.token) {
        return Err(refuse(
            core,
            &Violation::new(Rule::Token, 4004, "IDENTIFY with a wrong token"),
        ));
    }
    let claimed = ShardId(u32::try_from(identify.shard.0).unwrap_or(u32::MAX));
    let verdict = lock(&core.ledger).identify(claimed, Instant::now());
    match verdict {
        Verdict::Accepted => {}
        Verdict::RateLimited(since) => {
            let detail = format!("shard {claimed}: its bucket was used {since:?} before");
            core.broke(Rule::IdentifyRate, &detail);
            return Err((Answer::InvalidSession(false), "rate limited".to_owned()));
        }
        Verdict::Exhausted => {
            core.broke(Rule::IdentifyBudget, "IDENTIFY beyond the daily budget");
            reset_token(core);
            return Err((Answer::Close(Some(4004)), "budget exhausted: token reset".to_owned()));
        }
    }
    let (id, total, intents) = identify
        .check(core.options.shard_multiple, core.options.disallowed_intents)
        .map_err(|violation| refuse(core, &violation))?;
    if let Some(fault) = core.strike(Step::Identify, Some(id.0), Some(line.url)) {
        return Err((Answer::of(&fault), format!("fault {}", fault.name())));
    }
    let Some(shard) = core.shard(id, total) else {
        let detail = format!("shard [{id}, {total}] beside too many others");
        return Err(refuse(core, &Violation::new(Rule::Shard, 4010, detail)));
    };
    begin(line, &shard, (id, total), intents).map_err(|violation| refuse(core, &violation))
}

/// Begins a session: READY, then a GUILD_CREATE for each guild.
fn begin(
    line: &Line,
    shard: &Arc<Shard>,
    place: (ShardId, ShardTotal),
    intents: u64,
) -> Result<Attached, Violation> {
    let core = &line.core;
    let wake = Arc::new(Notify::new());
    let id = Uuid::new_v4().simple().to_string();
    let resume_url = match core.strike(Step::Ready, Some(place.0.0), Some(line.url)) {
        Some(Fault::ResumeUrl { url }) => url,
        _ => core.resume_url(),
    };
    {
        let ShardState { world, sessions, .. } = &mut *shard.lock();
        let guilds = world.guild_count();
        if guilds as u64 > DISCORD_GUILDS_PER_SHARD_MAX {
            let detail = format!("shard {} of {} sees {guilds} guilds", place.0, place.1);
            return Err(Violation::new(Rule::ShardingRequired, 4011, detail));
        }
        let how = (intents, line.transport);
        let keep = core.options.buffer_for(guilds);
        let mut session = Session::new(id.clone(), place, how, (line.id, core.now_ms()), keep);
        let bot = bot_id(core.options.seed);
        let ready = payload::ready(&session, bot, world.guild_ids(), &resume_url);
        session.push(Body::Text { name: "READY", data: ready.into() });
        let withheld = core.withheld(shard, Instant::now());
        if intents & Intents::GUILDS.bits() != 0 && !withheld.contains("GUILD_CREATE") {
            world.guilds().for_each(|guild| session.push(Body::Guild(guild)));
        }
        sessions.push(Member { session, wake: wake.clone() });
    }
    core.session_began(&id, shard);
    Ok(Attached { shard: shard.clone(), session: id, wake, swap_until: 0 })
}

/// Answers a RESUME.
pub(super) fn resume(line: &Line, resume: &Resume) -> Answer {
    let core = &line.core;
    let at_ms = core.now_ms();
    let shard = core.session_shard(&resume.session_id);
    let place = shard.as_ref().map(|shard| (shard.id.0, shard.total.get()));
    let outcome = match &shard {
        _ if !core.knows(&resume.token) => {
            Err(refuse(core, &Violation::new(Rule::Token, 4004, "RESUME with a wrong token")))
        }
        None => Err((Answer::InvalidSession(false), "unknown session".to_owned())),
        Some(shard) => take_up(line, shard, resume),
    };
    core.note(line.id, |truth| {
        truth.shard = place;
        truth.session = shard.as_ref().map(|_| resume.session_id.clone());
        truth.established_ms = outcome.is_ok().then_some(at_ms);
    });
    let (answer, outcome) = match outcome {
        Ok((attached, count)) => (Answer::Attach(attached), Ok(count)),
        Err((answer, reason)) => (answer, Err(reason)),
    };
    lock(&core.log).resumed(ResumeTruth {
        at_ms,
        connection: line.id,
        session: resume.session_id.clone(),
        shard: place.map(|(id, _)| id),
        from: resume.seq,
        outcome,
    });
    answer
}

fn take_up(line: &Line, shard: &Arc<Shard>, resume: &Resume) -> Result<(Attached, u64), Refusal> {
    let core = &line.core;
    let id = &resume.session_id;
    if let Some(fault) = core.strike(Step::Resume, Some(shard.id.0), Some(line.url)) {
        let answer = Answer::of(&fault);
        if ends_session(&answer) {
            core.end_session_by_id(id, SessionEnd::Invalidated);
        }
        return Err((answer, format!("fault {}", fault.name())));
    }
    let swap = core.strike(Step::Replay, Some(shard.id.0), Some(line.url)).is_some();
    let state = &mut *shard.lock();
    let Some(member) = state.member(id) else {
        return Err((Answer::InvalidSession(false), "unknown session".to_owned()));
    };
    if member.session.transport != line.transport {
        let detail = format!("{:?} instead of {:?}", line.transport, member.session.transport);
        core.broke(Rule::Transport, &detail);
        return Err((Answer::InvalidSession(false), "another transport".to_owned()));
    }
    let before = member.session.connection();
    if before.is_some() && !core.options.resume_takes_over {
        return Err((Answer::InvalidSession(true), "another connection has it".to_owned()));
    }
    match member.session.resume(resume.seq, line.id) {
        Ok(count) => {
            let swap_until = if swap { member.session.last() } else { 0 };
            // A new permit: the old connection's writer must not take it.
            member.wake = Arc::new(Notify::new());
            let wake = member.wake.clone();
            // RESUMED is a dispatch like any other: it takes a number, and a later RESUME brings it again.
            let data = payload::resumed().into();
            member.session.push(Body::Text { name: "RESUMED", data });
            if let Some(old) = before.and_then(|old| core.reach_one(old)) {
                old.close(core, Some(4000));
            }
            let session = id.clone();
            Ok((Attached { shard: shard.clone(), session, wake, swap_until }, count))
        }
        Err(ResumeError::Ahead { last }) => {
            core.end_session(state, id, SessionEnd::Invalidated);
            let detail = format!("RESUME behind {} where {last} was the last", resume.seq);
            Err(refuse(core, &Violation::new(Rule::Sequence, 4007, detail)))
        }
        Err(ResumeError::Outrun { trimmed }) => {
            core.end_session(state, id, SessionEnd::Outrun);
            let reason = format!("the buffer begins behind {trimmed}");
            Err((Answer::InvalidSession(false), reason))
        }
    }
}

/// Whether a client that gets this answer can't resume any more.
pub(super) const fn ends_session(answer: &Answer) -> bool {
    matches!(answer, Answer::InvalidSession(false) | Answer::Close(Some(4003 | 4007 | 4009)))
}

fn refuse(core: &Core, violation: &Violation) -> Refusal {
    core.violated(violation);
    (Answer::Close(Some(violation.code)), violation.detail.clone())
}

/// Every session ends, as Discord threatens for an overspent budget.
fn reset_token(core: &Arc<Core>) {
    for shard in core.all_shards() {
        let state = &mut *shard.lock();
        let ids: Vec<String> =
            state.sessions.iter().map(|member| member.session.id.clone()).collect();
        ids.iter().for_each(|id| core.end_session(state, id, SessionEnd::TokenReset));
    }
    for reach in core.reach() {
        reach.close(core, Some(4004));
    }
}
