//! The authority's two files.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::Path,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use tracing::debug;

use super::AuthorityError;

/// The certificates that are trusted, in PEM form: more than one while an authority is replaced.
pub(super) const CERTIFICATES: &str = "ca.crt";
/// The key that belongs to one of them.
pub(super) const KEY: &str = "ca.key";

/// The key is its owner's alone.
pub(super) const KEY_MODE: u32 = 0o600;
pub(super) const CERTIFICATES_MODE: u32 = 0o644;
const DIRECTORY_MODE: u32 = 0o700;
/// A mounted Kubernetes Secret is readable for its group; for anyone else, or writable for the group, it is exposed.
const EXPOSED: u32 = 0o027;
/// Far more than a bundle of a few authorities: a wrong path must not be read into memory.
const FILE_MAX: u64 = 256 * 1024;

/// Writes both files into a directory that has neither, durably, the key first: a certificate without its key looks
/// like an authority, a key without its certificate does not.
pub(super) fn create(directory: &Path, certificate: &str, key: &str) -> Result<(), AuthorityError> {
    if !directory.is_dir() {
        let made = fs::DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(directory);
        made.map_err(|reason| file_error(directory, reason))?;
    }
    for name in [CERTIFICATES, KEY] {
        let path = directory.join(name);
        if path.symlink_metadata().is_ok() {
            return Err(AuthorityError::Exists { path });
        }
    }
    write(&directory.join(KEY), key, KEY_MODE)?;
    write(&directory.join(CERTIFICATES), certificate, CERTIFICATES_MODE)?;
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    synced.map_err(|reason| file_error(directory, reason))
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), AuthorityError> {
    let written = OpenOptions::new().write(true).create_new(true).mode(mode).open(path).and_then(
        |mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        },
    );
    written.map_err(|reason| file_error(path, reason))
}

/// The key in PEM form, from a file that nobody else can read.
pub(super) fn read_key(path: &Path) -> Result<String, AuthorityError> {
    let mut file = File::open(path).map_err(|reason| file_error(path, reason))?;
    let metadata = file.metadata().map_err(|reason| file_error(path, reason))?;
    let mode = metadata.mode() & 0o7777;
    if mode & EXPOSED != 0 {
        return Err(AuthorityError::Exposed { path: path.to_owned(), mode });
    }
    read(path, &mut file)
}

/// The certificates of a bundle, at least one.
pub(super) fn read_certificates(
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, AuthorityError> {
    let mut file = File::open(path).map_err(|reason| file_error(path, reason))?;
    let text = read(path, &mut file)?;
    let not_pem = || AuthorityError::NotPem { path: path.to_owned(), wanted: "certificate" };
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    let certificates = certificates.map_err(|error| {
        debug!(%error, path = %path.display(), "no PEM");
        not_pem()
    })?;
    if certificates.is_empty() { Err(not_pem()) } else { Ok(certificates) }
}

fn read(path: &Path, file: &mut File) -> Result<String, AuthorityError> {
    let mut text = String::new();
    let read = file.take(FILE_MAX + 1).read_to_string(&mut text);
    read.map_err(|reason| file_error(path, reason))?;
    if text.len() as u64 > FILE_MAX {
        return Err(AuthorityError::TooLarge { path: path.to_owned(), max: FILE_MAX });
    }
    Ok(text)
}

/// Whole or not at all, and durable.
pub(super) fn replace(
    directory: &Path,
    name: &str,
    text: &str,
    mode: u32,
) -> Result<(), AuthorityError> {
    let (new, path) = (directory.join(format!("{name}.new")), directory.join(name));
    let written = || {
        // One that a crash left may have another mode.
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        File::open(directory)?.sync_all()
    };
    written().map_err(|reason| file_error(&path, reason))
}

/// RFC 7468.
pub(super) fn pem(label: &str, der: &[u8]) -> String {
    const LINE: usize = 64;
    let digits = BASE64_STANDARD.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in digits.as_bytes().chunks(LINE) {
        text.extend(line.iter().map(|byte| char::from(*byte)));
        text.push('\n');
    }
    text + &format!("-----END {label}-----\n")
}

pub(super) fn file_error(path: &Path, reason: io::Error) -> AuthorityError {
    AuthorityError::File { path: path.to_owned(), reason }
}
