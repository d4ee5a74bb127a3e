//! Replaces an authority by a new one in three steps, so that every node trusts both before any leaf changes.
//!
//! The files say where a roll stands, whoever looks and however often:
//!
//! ```text
//!  ca.crt        ca.key   ca.next.key
//!  old           old      -            nothing is under way
//!  old, new      old      new          both are trusted, the old one signs
//!  old, new      new      -            both are trusted, the new one signs
//!  new           new      -            done
//! ```

use std::{fs, io, os::unix::fs::MetadataExt as _, path::Path, time::Duration};

use rcgen::{KeyPair, PublicKeyData as _};
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::model::UnixMillis;

use super::{
    Authority, AuthorityError, LEAF_LIFETIME,
    files::{self, file_error, pem, replace},
};

/// The key that is to sign next. It is on the operator's machine alone.
const NEXT_KEY: &str = "ca.next.key";

/// From the change of a file to the next step that counts on every node's having seen it: a mounted Secret takes up to
/// two minutes, a node without the key asks every 30 s.
const SETTLE: Duration = Duration::from_mins(5);

/// Where a roll stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stage {
    /// One authority is trusted, and signs.
    Single,
    /// Both are trusted, and the old one signs.
    Both,
    /// Both are trusted, and the new one signs.
    Switched,
}

/// A roll of the authority in a directory.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Roll {
    /// Where it stands.
    pub stage: Stage,
    /// Since when.
    pub since: UnixMillis,
}

impl Roll {
    /// Looks at the files in `directory`.
    ///
    /// # Errors
    ///
    /// As [`Authority::load`]: files that can't be used are not rolled.
    pub fn look(directory: &Path, now: UnixMillis) -> Result<Self, AuthorityError> {
        let authority = Authority::load(directory, now)?;
        let stage = match authority.certificates() {
            [_] => Stage::Single,
            trusted => match next_key(directory)? {
                Some(next) if names(trusted, &next) && !is(authority.certificate(), &next) => {
                    Stage::Both
                }
                _ => Stage::Switched,
            },
        };
        let changed = match stage {
            Stage::Single | Stage::Both => files::CERTIFICATES,
            Stage::Switched => files::KEY,
        };
        Ok(Self { stage, since: modified(&directory.join(changed))? })
    }

    /// How long the next step should still wait.
    #[must_use]
    pub fn wait(&self, now: UnixMillis) -> Duration {
        let span = match self.stage {
            Stage::Single => Duration::ZERO,
            Stage::Both => SETTLE,
            // A leaf of the old authority that nobody has replaced ends by itself.
            Stage::Switched => LEAF_LIFETIME + SETTLE,
        };
        span.saturating_sub(now.since(self.since))
    }

    /// Does the next step, and says where the roll stands then. It is up to the caller to [wait](Self::wait).
    ///
    /// # Errors
    ///
    /// [`AuthorityError`]; a step that was interrupted is done again, or whole.
    pub fn step(&self, directory: &Path, now: UnixMillis) -> Result<Self, AuthorityError> {
        match self.stage {
            Stage::Single => introduce(directory, now)?,
            Stage::Both => switch(directory)?,
            Stage::Switched => finish(directory, now)?,
        }
        Self::look(directory, now)
    }
}

/// The key first: a certificate that is trusted and whose key is lost would be of no use.
fn introduce(directory: &Path, now: UnixMillis) -> Result<(), AuthorityError> {
    let certificates = directory.join(files::CERTIFICATES);
    let (certificate, key) = Authority::generate(now)?;
    let old =
        fs::read_to_string(&certificates).map_err(|reason| file_error(&certificates, reason))?;
    let separator = if old.ends_with('\n') { "" } else { "\n" };
    replace(directory, NEXT_KEY, &key, files::KEY_MODE)?;
    let both = format!("{old}{separator}{certificate}");
    replace(directory, files::CERTIFICATES, &both, files::CERTIFICATES_MODE)
}

/// Written anew rather than renamed, so that the file's time is that of the switch.
fn switch(directory: &Path) -> Result<(), AuthorityError> {
    let next = directory.join(NEXT_KEY);
    replace(directory, files::KEY, &files::read_key(&next)?, files::KEY_MODE)?;
    fs::remove_file(&next).map_err(|reason| file_error(&next, reason))
}

fn finish(directory: &Path, now: UnixMillis) -> Result<(), AuthorityError> {
    let authority = Authority::load(directory, now)?;
    let text = pem("CERTIFICATE", authority.certificate());
    replace(directory, files::CERTIFICATES, &text, files::CERTIFICATES_MODE)?;
    let next = directory.join(NEXT_KEY);
    match fs::remove_file(&next) {
        Err(reason) if reason.kind() != io::ErrorKind::NotFound => Err(file_error(&next, reason)),
        _ => Ok(()),
    }
}

/// The public key of the next authority.
fn next_key(directory: &Path) -> Result<Option<Vec<u8>>, AuthorityError> {
    let path = directory.join(NEXT_KEY);
    if !path.exists() {
        return Ok(None);
    }
    let key = KeyPair::from_pem(&files::read_key(&path)?);
    let key = key.map_err(|_| AuthorityError::NotPem { path, wanted: "private key" })?;
    Ok(Some(key.subject_public_key_info()))
}

fn names(trusted: &[CertificateDer<'_>], key: &[u8]) -> bool {
    trusted.iter().any(|certificate| is(certificate, key))
}

fn is(certificate: &CertificateDer<'_>, key: &[u8]) -> bool {
    X509Certificate::from_der(certificate).is_ok_and(|(_, found)| found.public_key().raw == key)
}

fn modified(path: &Path) -> Result<UnixMillis, AuthorityError> {
    let metadata = fs::metadata(path).map_err(|reason| file_error(path, reason))?;
    let (seconds, nanos) = (metadata.mtime(), metadata.mtime_nsec());
    let millis = seconds.saturating_mul(1000).saturating_add(nanos / 1_000_000);
    Ok(UnixMillis(u64::try_from(millis).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authority() -> (tempfile::TempDir, std::path::PathBuf, UnixMillis) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ca");
        let now = UnixMillis::now();
        Authority::create(&path, now).unwrap();
        (directory, path, now)
    }

    fn stage(path: &Path, now: UnixMillis) -> Stage {
        Roll::look(path, now).unwrap().stage
    }

    #[test]
    fn each_step_waits_for_what_nodes_need() {
        let (_directory, path, now) = authority();
        let single = Roll::look(&path, now).unwrap();
        assert_eq!((single.stage, single.wait(now)), (Stage::Single, Duration::ZERO));

        let both = single.step(&path, now).unwrap();
        assert_eq!(both.stage, Stage::Both);
        assert!(!both.wait(both.since).is_zero() && both.wait(both.since.plus(SETTLE)).is_zero());
        let switched = both.step(&path, now).unwrap();
        assert_eq!(switched.stage, Stage::Switched);
        assert!(!switched.wait(switched.since.plus(LEAF_LIFETIME)).is_zero());
        assert!(switched.wait(switched.since.plus(LEAF_LIFETIME + SETTLE)).is_zero());
        assert_eq!(switched.step(&path, now).unwrap().stage, Stage::Single);
    }

    #[test]
    fn the_new_authority_signs_what_both_trusted_before() {
        let (_directory, path, now) = authority();
        let load = || Authority::load(&path, now).unwrap();
        let old = load().certificate().clone();

        let both = Roll::look(&path, now).unwrap().step(&path, now).unwrap();
        let trusted = load().certificates().to_vec();
        assert_eq!((trusted.len(), load().certificate()), (2, &old));
        let switched = both.step(&path, now).unwrap();
        assert_eq!(load().certificates(), trusted);
        assert_ne!(load().certificate(), &old);
        switched.step(&path, now).unwrap();
        assert_eq!(load().certificates(), [trusted[1].clone()]);
    }

    #[test]
    fn a_step_that_was_interrupted_is_done_again_or_whole() {
        let (_directory, path, now) = authority();
        let (_, stray) = Authority::generate(now).unwrap();
        replace(&path, NEXT_KEY, &stray, files::KEY_MODE).unwrap();
        assert_eq!(stage(&path, now), Stage::Single, "a key that nobody trusts yet");

        Roll::look(&path, now).unwrap().step(&path, now).unwrap();
        assert_eq!(stage(&path, now), Stage::Both);
        fs::copy(path.join(NEXT_KEY), path.join(files::KEY)).unwrap();
        assert_eq!(stage(&path, now), Stage::Switched, "the key is there, and its copy too");

        Roll::look(&path, now).unwrap().step(&path, now).unwrap();
        assert_eq!(stage(&path, now), Stage::Single);
        assert!(!path.join(NEXT_KEY).exists());
    }

    #[test]
    fn files_that_do_not_fit_are_not_rolled() {
        let ((_one, path, now), (_two, other, _)) = (authority(), authority());
        fs::copy(other.join(files::KEY), path.join(files::KEY)).unwrap();

        assert!(matches!(Roll::look(&path, now), Err(AuthorityError::Mismatch { .. })));
    }
}
