//! The open gate: from a path to a store that is known to hold what it acknowledged, or to a reason why not.

use std::{
    fs::{self, File},
    io,
    panic::catch_unwind,
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::Duration,
};

use rand::random_range;
use tracing::{error, warn};

use crate::model::{ClusterId, NodeId, UnixMillis, panic_text};

use super::{
    Damage, Disk, Identity, OpenError, Promise, Recovered, Snapshot, Tombstone, ballast,
    directory::{self, SLED, refused},
    farewell::{self, Farewell},
    gate::{self, Verdict},
    identity::{self, FORMAT, Found, IdentityFile},
    log::{Barrier, DatabaseError, Log, Owner, Scan},
    promise,
    quarantine::{self, quarantine},
    snapshot, sync,
};

/// How long the database may take to open. Ours has some tens of megabytes, so a disk that needs longer is stalled.
const OPEN_WITHIN: Duration = Duration::from_secs(20);

/// How long sled may take to let go of its lock after it was closed in this very process.
const BUSY_TRIES_MAX: u32 = 200;

const BUSY_PAUSE: Duration = Duration::from_millis(10);

/// How to open a data directory.
#[derive(Clone, Debug)]
pub struct Options {
    /// The member that a new directory begins as. Never one that was used before.
    pub node: NodeId,
    /// The cluster that this node is about to join. Whoever lost a cluster's data may join only that one.
    pub join: Option<ClusterId>,
    /// How long the database may take.
    pub open_within: Duration,
    /// How far a write goes before it counts as durable. Never anything but the default to keep data with.
    #[doc(hidden)]
    pub barrier: Barrier,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            node: NodeId(random_range(1..u64::MAX)),
            join: None,
            open_within: OPEN_WITHIN,
            barrier: Barrier::default(),
        }
    }
}

/// An open data directory.
#[derive(Debug)]
pub struct Opened {
    /// Where to write.
    pub store: Disk,
    /// Whose it is. The boot epoch is that of this start.
    pub identity: Identity,
    /// What it held.
    pub recovered: Recovered,
    /// What was put right on the way.
    pub repairs: Vec<Repair>,
}

/// Something that was not as it should be, and is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Repair {
    /// A first start had ended before it was complete. Nothing had been acknowledged.
    BegunAnew,
    /// sled had left an unfinished index behind, with which it does not open (sled#1527).
    StrayRemoved,
    /// sled's index or settings did not read; both were made anew from its log.
    IndexRebuilt,
    /// Entries at the log's end that were never acknowledged were not whole.
    Trimmed,
    /// A purge had been interrupted.
    PurgeFinished,
    /// The snapshot did not read, and the whole log is there.
    SnapshotDropped,
    /// The disk was full: the space held back for this was given up.
    BallastReleased,
}

/// Whether `path` is the data directory of a node: it is not made by looking.
#[must_use]
pub fn is_begun(path: &Path) -> bool {
    path.join(identity::FILE).exists()
}

/// Opens the data directory at `path`, and makes it if it is not there. Blocks, some tens of milliseconds as a rule and
/// little more than [`Options::open_within`] at most.
///
/// # Errors
///
/// [`OpenError`]; each says what to do about it. A damaged directory is put aside, as [`OpenError::Quarantined`] tells.
pub fn open(path: &Path, options: &Options) -> Result<Opened, OpenError> {
    let lock = directory::enter(path)?;
    let left = farewell::load(path).map_err(|source| refused(path, "read the farewell", source))?;
    if let Some(farewell) = left.as_ref().filter(|farewell| farewell.returns) {
        empty(path, farewell).map_err(|source| refused(path, "empty it", source))?;
    } else if let Some(farewell) = left {
        return Err(OpenError::Left { path: path.to_owned(), farewell });
    }
    let mut repairs = Vec::new();
    let (mut file, mut identity) = identify(path, options, &mut repairs)?;
    if let (Some(found), Some(wanted)) = (identity.cluster, options.join)
        && found != wanted
    {
        return Err(OpenError::OtherCluster { path: path.to_owned(), found, wanted });
    }
    let told = |source| refused(path, "keep space free", source);
    ballast::load(path).map_err(told)?;
    let checked = check(path, options, &identity, &mut repairs)?;
    let (log, scan, snapshot, verdict) = match checked {
        Ok(checked) => checked,
        Err(damage) => return Err(condemn(path, Some(owner(&identity)), damage)),
    };
    let logged = verdict.last.is_some() || snapshot.is_some();
    let promise = match promised(path, &identity, logged)? {
        Ok(promise) => promise,
        Err(damage) => {
            drop(log);
            return Err(condemn(path, Some(owner(&identity)), damage));
        }
    };
    // A power cut may come between the promise and the cluster's id.
    identity.cluster = identity.cluster.or_else(|| promise.as_ref().map(|promise| promise.cluster));
    identity.ready = true;
    settle(path, &log, &mut file, &mut identity, &verdict)
        .map_err(|error| refused(path, "write to the database", error.into()))?;
    repairs.extend(verdict.trim_from.map(|_| Repair::Trimmed));
    repairs.extend(verdict.purge_to.map(|_| Repair::PurgeFinished));
    for repair in &repairs {
        warn!(path = %path.display(), ?repair, "data directory repaired");
    }
    let chains = verdict.records.iter().map(|linked| (linked.record.position, linked.chain));
    let chains = chains.collect();
    let recovered = Recovered {
        vote: scan.vote,
        committed: scan.committed.min(verdict.last),
        purged: scan.purged.map(|purged| purged.position),
        records: verdict.records.into_iter().map(|linked| linked.record).collect(),
        snapshot,
        promise,
    };
    let store = Disk::start(path, lock, log, file, identity.clone(), chains, scan.purged)
        .map_err(|source| refused(path, "start the writer", source))?;
    Ok(Opened { store, identity, recovered, repairs })
}

/// Reads the identity file, or begins a new directory.
fn identify(
    path: &Path,
    options: &Options,
    repairs: &mut Vec<Repair>,
) -> Result<(IdentityFile, Identity), OpenError> {
    let told = |source| refused(path, "read the identity file", source);
    match IdentityFile::read(path).map_err(told)? {
        Found::Newer(found) => {
            Err(OpenError::NewerFormat { path: path.to_owned(), found, known: FORMAT })
        }
        Found::Unreadable => {
            let witness = witness(path, options)?;
            Err(condemn(path, witness, Damage::IdentityUnreadable))
        }
        Found::Identity { identity, sequence } if identity.ready => {
            IdentityFile::resume(path, sequence).map(|file| (file, identity)).map_err(told)
        }
        Found::Identity { identity, .. } => {
            repairs.push(Repair::BegunAnew);
            begin(path, options.node, identity.cluster.or(options.join))
        }
        Found::Nothing => {
            let left = quarantine::tombstone(path)
                .map_err(|source| refused(path, "read the tombstone", source))?;
            if let Some(tombstone) = left {
                if tombstone.cluster.is_none() || tombstone.cluster != options.join {
                    let tombstone = Box::new(tombstone);
                    return Err(OpenError::Lost { path: path.to_owned(), tombstone });
                }
            } else if [SLED, snapshot::FILE, promise::FILE]
                .iter()
                .any(|name| path.join(name).exists())
            {
                let witness = witness(path, options)?;
                return Err(condemn(path, witness, Damage::IdentityMissing));
            }
            begin(path, options.node, options.join)
        }
    }
}

/// Begins a directory: the identity file first, so that a log without one is always a loss.
fn begin(
    path: &Path,
    node: NodeId,
    cluster: Option<ClusterId>,
) -> Result<(IdentityFile, Identity), OpenError> {
    let told = |source| refused(path, "begin the data directory", source);
    match fs::remove_dir_all(path.join(SLED)) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(told(source)),
        _ => {}
    }
    sync::remove(&path.join(snapshot::FILE)).map_err(told)?;
    let identity = Identity::new(node, cluster);
    let file = IdentityFile::create(path, &identity).map_err(told)?;
    sync::parent(path).map_err(told)?;
    Ok((file, identity))
}

/// What was promised, if nothing has come of it yet: with the first entry the cluster has been formed.
fn promised(
    path: &Path,
    identity: &Identity,
    logged: bool,
) -> Result<Result<Option<Promise>, Damage>, OpenError> {
    let told = |source| refused(path, "read the promise", source);
    match promise::load(path).map_err(told)? {
        _ if logged => Ok(Ok(None)),
        promise::Found::Nothing => Ok(Ok(None)),
        promise::Found::Newer(found) => {
            let (path, found) = (path.to_owned(), u16::from(found));
            Err(OpenError::NewerFormat { path, found, known: FORMAT })
        }
        promise::Found::Unreadable => Ok(Err(Damage::PromiseUnreadable)),
        promise::Found::Promise(promise) => match identity.cluster {
            Some(cluster) if cluster != promise.cluster => {
                Ok(Err(Damage::Disagree("cluster that was promised")))
            }
            _ => Ok(Ok(Some(promise))),
        },
    }
}

type Checked = (Log, Scan, Option<Snapshot>, Verdict);

/// Opens the database and compares everything with everything.
fn check(
    path: &Path,
    options: &Options,
    identity: &Identity,
    repairs: &mut Vec<Repair>,
) -> Result<Result<Checked, Damage>, OpenError> {
    let told = |source| refused(path, "read the snapshot", source);
    let snapshot = match snapshot::load(path).map_err(told)? {
        snapshot::Found::Nothing => None,
        snapshot::Found::Snapshot(snapshot) => Some(snapshot),
        snapshot::Found::Newer(found) => {
            return Err(OpenError::NewerFormat { path: path.to_owned(), found, known: FORMAT });
        }
        snapshot::Found::Unreadable => {
            repairs.push(Repair::SnapshotDropped);
            None
        }
    };
    let (log, mut scan) = match database(path, options, identity, repairs)? {
        Ok(opened) => opened,
        Err(damage) => return Ok(Err(damage)),
    };
    if !identity.ready {
        scan.owner = Some(owner(identity));
    }
    let held = snapshot.as_ref().and_then(|snapshot| snapshot.last);
    Ok(gate::judge(identity, &scan, held).map(|verdict| (log, scan, snapshot, verdict)))
}

/// Opens sled, and helps it where that is safe.
fn database(
    path: &Path,
    options: &Options,
    identity: &Identity,
    repairs: &mut Vec<Repair>,
) -> Result<Result<(Log, Scan), Damage>, OpenError> {
    let sled = path.join(SLED);
    if identity.ready && !sled.join("db").exists() {
        return Ok(Err(Damage::LogMissing));
    }
    let told = |source| refused(path, "clean up the database", source);
    if discard(&sled, |name| name.starts_with("snap.") && name.ends_with(".generating"))
        .map_err(told)?
    {
        repairs.push(Repair::StrayRemoved);
    }
    let mut rebuilt = false;
    let mut released = false;
    loop {
        match open_within(path, options)? {
            Ok(opened) => return Ok(Ok(opened)),
            Err(DatabaseError::Full) if !released && ballast::release(path).map_err(told)? => {
                released = true;
                repairs.push(Repair::BallastReleased);
            }
            Err(DatabaseError::Full) => {
                return Err(OpenError::DiskFull { path: path.to_owned() });
            }
            Err(DatabaseError::Damaged(damage)) if rebuilt => return Ok(Err(damage)),
            Err(DatabaseError::Damaged(damage)) => {
                warn!(path = %path.display(), %damage, "the database does not open; rebuilding its index");
                rebuilt = true;
                discard(&sled, |name| name.starts_with("snap.") || name == "conf").map_err(told)?;
                repairs.push(Repair::IndexRebuilt);
            }
            Err(error) => return Err(refused(path, "open the database", error.into())),
        }
    }
}

/// Deletes files of sled's that it makes anew. `true` if there were any.
fn discard(sled: &Path, is_doomed: impl Fn(&str) -> bool) -> io::Result<bool> {
    let entries = match fs::read_dir(sled) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        entries => entries?,
    };
    let mut found = false;
    for entry in entries {
        let entry = entry?;
        if is_doomed(&entry.file_name().to_string_lossy()) {
            sync::remove(&entry.path())?;
            found = true;
        }
    }
    Ok(found)
}

/// Opens sled on a thread of its own: on damaged files it may panic, or never come back.
fn open_within(
    path: &Path,
    options: &Options,
) -> Result<Result<(Log, Scan), DatabaseError>, OpenError> {
    let sled = path.join(SLED);
    let Options { open_within: within, barrier, .. } = *options;
    let (answer, answered) = mpsc::sync_channel(1);
    thread::Builder::new()
        .name("store-open".to_owned())
        .spawn(move || {
            let opened = catch_unwind(|| open_when_free(&sled, barrier)).unwrap_or_else(|panic| {
                let said = format!("it panicked: {}", panic_text(panic.as_ref()));
                Err(DatabaseError::Damaged(Damage::Database(said)))
            });
            // Whoever asked may have given up; then the log is dropped here.
            let _unheard = answer.send(opened);
        })
        .map_err(|source| refused(path, "start a thread", source))?;
    answered
        .recv_timeout(within)
        .map_err(|_| OpenError::Stalled { path: path.to_owned(), waited: within })
}

fn open_when_free(sled: &Path, barrier: Barrier) -> Result<(Log, Scan), DatabaseError> {
    for _ in 0..BUSY_TRIES_MAX {
        match Log::open(sled, barrier) {
            Err(DatabaseError::Busy) => thread::sleep(BUSY_PAUSE),
            opened => return opened,
        }
    }
    Err(DatabaseError::Busy)
}

/// Brings the disk to what was judged, counts this start, and makes both durable.
fn settle(
    path: &Path,
    log: &Log,
    file: &mut IdentityFile,
    identity: &mut Identity,
    verdict: &Verdict,
) -> Result<(), DatabaseError> {
    if let Some(index) = verdict.trim_from {
        log.delete_from(index)?;
    }
    if let Some(index) = verdict.purge_to {
        while log.delete_to(index)? {
            log.barrier()?;
        }
    }
    identity.boot = identity.boot.next();
    identity.last = verdict.last;
    identity.chain = verdict.chain;
    log.note("owner", &owner(identity))?;
    log.barrier()?;
    let sled = path.join(SLED);
    File::open(sled.join("conf"))
        .and_then(|conf| conf.sync_all())
        .and_then(|()| sync::directory(&sled.join("blobs")))
        .and_then(|()| sync::directory(&sled))
        .and_then(|()| sync::directory(path))
        .and_then(|()| file.write(identity))
        .map_err(DatabaseError::Io)
}

pub(super) const fn owner(identity: &Identity) -> Owner {
    Owner { cluster: identity.cluster, node: identity.node, boot: identity.boot }
}

/// Where the identity file says nothing: what the database says, if it does. It is believed only about what is lost.
fn witness(path: &Path, options: &Options) -> Result<Option<Owner>, OpenError> {
    if !path.join(SLED).join("db").exists() {
        return Ok(None);
    }
    let opened = open_within(path, options)?;
    Ok(opened.ok().and_then(|(_, scan)| scan.owner))
}

/// What the promise says, where nothing else does.
fn promised_cluster(path: &Path) -> Option<ClusterId> {
    promise::load(path).ok()?.promise().map(|promise| promise.cluster)
}

/// Puts aside what is in a directory that nobody has open: whoever knows better says that it is not what it was. The
/// next [`open`] may join the same cluster anew.
///
/// # Errors
///
/// [`OpenError`], where somebody has it open, or it can't be moved.
pub fn set_aside(
    path: &Path,
    cluster: ClusterId,
    node: NodeId,
    reason: String,
) -> Result<PathBuf, OpenError> {
    let _lock = directory::enter(path)?;
    let (cluster, node) = (Some(cluster), Some(node));
    let tombstone = Tombstone { cluster, node, at: UnixMillis::now(), damage: reason };
    quarantine(path, &tombstone).map_err(|source| refused(path, "put its content aside", source))
}

/// Empties the directory of a node that has left its cluster and may join it again as another one: what it held the
/// others hold. No cluster is ever formed there.
fn empty(path: &Path, farewell: &Farewell) -> io::Result<()> {
    let tombstone = Tombstone {
        cluster: farewell.cluster,
        node: farewell.node,
        at: UnixMillis::now(),
        damage: "its node left the cluster".to_owned(),
    };
    quarantine::clear(path, &tombstone)?;
    // Last: an emptying that is interrupted begins again.
    farewell::take_back(path)
}

/// Puts the directory aside.
fn condemn(path: &Path, owner: Option<Owner>, damage: Damage) -> OpenError {
    let tombstone = Box::new(Tombstone {
        cluster: owner.and_then(|owner| owner.cluster).or_else(|| promised_cluster(path)),
        node: owner.map(|owner| owner.node),
        at: UnixMillis::now(),
        damage: damage.to_string(),
    });
    error!(path = %path.display(), %damage, "data directory is damaged");
    match quarantine(path, &tombstone) {
        Ok(moved) => OpenError::Quarantined { path: path.to_owned(), moved, damage, tombstone },
        Err(source) => refused(path, "put the damaged content aside", source),
    }
}
