//! A Raft group of three members, each a process.

use std::{collections::BTreeMap, path::Path, time::Duration};

use apolo::{ClusterId, NodeId, Profile, UnixMillis, transport::Authority};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::{
    Failure,
    member::{Answer, Ask, Seat},
    ports,
    process::Process,
};

const MEMBERS: u64 = 3;

/// A leader is there, and everybody has what it has.
const WELL_WITHIN: Duration = Duration::from_secs(30);

const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The members, of which one may be dead.
pub(crate) struct Group {
    members: Vec<Member>,
    /// Gone with the group.
    directory: TempDir,
}

struct Member {
    seat: Seat,
    process: Option<Process>,
}

impl Group {
    /// Starts the members, and waits until one of them leads.
    pub(crate) async fn start(profile: Profile) -> Result<Self, Failure> {
        let directory = TempDir::new()?;
        let authority = directory.path().join("ca");
        Authority::create(&authority, UnixMillis::now())?;
        let addresses = (1..=MEMBERS).map(NodeId).zip(ports::free(MEMBERS as usize)?);
        let addresses: BTreeMap<_, _> = addresses.collect();
        let cluster = ClusterId::mint();
        let mut members = Vec::new();
        for node in addresses.keys().copied() {
            let seat = Seat {
                node,
                cluster,
                profile,
                authority: authority.clone(),
                data: directory.path().join(node.to_string()),
                members: addresses.clone(),
            };
            let process = Some(start(&seat, directory.path())?);
            members.push(Member { seat, process });
        }
        let mut group = Self { members, directory };
        group.ask(0, Ask::Form).await?;
        group.settled().await?;
        Ok(group)
    }

    pub(crate) async fn ask(&mut self, member: usize, what: Ask) -> Result<Answer, Failure> {
        let process = self.members[member].process.as_mut().ok_or("the member is dead")?;
        ask(process, what).await
    }

    /// Waits until everybody is there, one leads, and the others have all that it has. Returns the leader.
    pub(crate) async fn settled(&mut self) -> Result<usize, Failure> {
        let deadline = Instant::now() + WELL_WITHIN;
        loop {
            let mut leaders = Vec::new();
            let mut applied = Vec::new();
            for member in 0..self.members.len() {
                if let Answer::Status { leads, applied: index } =
                    self.ask(member, Ask::Status).await?
                {
                    leaders.extend(leads.then_some(member));
                    applied.push(index);
                }
            }
            if let [leader] = leaders[..]
                && applied.iter().all(|index| *index == applied[leader])
            {
                return Ok(leader);
            }
            if Instant::now() >= deadline {
                return Err(format!("{leaders:?} lead, {applied:?} are applied").into());
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Kills a member, has both others write, and returns the time from the kill to the first write that was committed.
    pub(crate) async fn kill(&mut self, member: usize) -> Result<Duration, Failure> {
        let dead = self.members[member].process.take().ok_or("the member is dead")?;
        let killed = Instant::now();
        dead.kill().await?;
        let mut alive = self.members.iter_mut().filter_map(|member| member.process.as_mut());
        let (Some(one), Some(other)) = (alive.next(), alive.next()) else {
            return Err("too few are left".into());
        };
        // Whoever comes second has its answer read too, so that the next question gets its own.
        let written = async |process: &mut Process| {
            let answer = ask(process, Ask::First).await;
            (answer, killed.elapsed())
        };
        let (one, other) = tokio::join!(written(one), written(other));
        one.0?;
        other.0?;
        Ok(one.1.min(other.1))
    }

    /// Starts a member that was killed.
    pub(crate) fn restart(&mut self, member: usize) -> Result<(), Failure> {
        let directory = self.directory.path().to_owned();
        let member = &mut self.members[member];
        member.process = Some(start(&member.seat, &directory)?);
        Ok(())
    }
}

fn start(seat: &Seat, directory: &Path) -> Result<Process, Failure> {
    Process::start("--member", seat, directory.join(format!("{}.log", seat.node)))
}

async fn ask(process: &mut Process, ask: Ask) -> Result<Answer, Failure> {
    match process.ask(&ask).await? {
        Answer::Failed(why) => Err(format!("a member failed: {why}").into()),
        answer => Ok(answer),
    }
}
