//! The authority's files, its leaves, and what it does not sign.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

use apolo::{
    model::{NodeId, UnixMillis},
    transport::{Authority, AuthorityError, Credentials, Identity, Leaf, Refusal, SigningRequest},
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::support::{
    CLUSTER, HOUR, ca,
    raw::{dns, forge, names, uri},
    server,
};

fn load(directory: &Path) -> Result<Authority, AuthorityError> {
    Authority::load(directory, UnixMillis::now())
}

#[test]
fn an_authority_is_made_once_and_its_key_is_its_owners_alone() {
    let ca = ca();

    let mode = fs::metadata(ca.path().join("ca.key")).unwrap().permissions().mode();
    let again = Authority::create(&ca.path(), UnixMillis::now());

    assert_eq!(mode & 0o7777, 0o600);
    assert!(matches!(again, Err(AuthorityError::Exists { .. })), "{again:?}");
    load(&ca.path()).unwrap();
}

#[test]
fn files_that_do_not_fit_are_refused_by_name() {
    let (one, other) = (ca(), ca());
    let [certificates, key] = ["ca.crt", "ca.key"].map(|name| one.path().join(name));
    let good = fs::read(&key).unwrap();

    fs::copy(other.path().join("ca.key"), &key).unwrap();
    let mismatch = load(&one.path()).unwrap_err();
    assert!(matches!(mismatch, AuthorityError::Mismatch { .. }), "{mismatch}");

    fs::write(&key, "no key").unwrap();
    let not_pem = load(&one.path()).unwrap_err();
    assert!(not_pem.to_string().contains("ca.key holds no private key"), "{not_pem}");

    fs::write(&key, &good).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let exposed = load(&one.path()).unwrap_err();
    assert!(exposed.to_string().contains("mode 0644"), "{exposed}");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o440)).unwrap();
    load(&one.path()).unwrap();

    fs::write(&certificates, "").unwrap();
    let empty = load(&one.path()).unwrap_err();
    assert!(empty.to_string().contains("ca.crt holds no certificate"), "{empty}");
    fs::write(&certificates, vec![b'x'; 1 << 20]).unwrap();
    assert!(matches!(load(&one.path()), Err(AuthorityError::TooLarge { .. })));
    fs::remove_file(&certificates).unwrap();
    let missing = load(&one.path()).unwrap_err();
    assert!(missing.to_string().contains("ca.crt"), "{missing}");
}

#[test]
fn a_leaf_or_an_ended_authority_is_no_authority() {
    let ca = ca();
    let (leaf, _) = forge(&ca.path(), names(&server(2)), |_| {});
    let bundle = ca.path().join("ca.crt");
    let mut text = fs::read_to_string(&bundle).unwrap();
    let later = UnixMillis::now().plus(HOUR * 24 * 365 * 11);

    let ended = Authority::load(&ca.path(), later).unwrap_err();
    text.push_str(&pem(&leaf));
    fs::write(&bundle, text).unwrap();
    let not_an_authority = load(&ca.path()).unwrap_err();

    assert!(matches!(ended, AuthorityError::Ended { .. }), "{ended}");
    assert!(
        matches!(not_an_authority, AuthorityError::NotAnAuthority { nth: 2, .. }),
        "{not_an_authority}"
    );
}

fn pem(der: &[u8]) -> String {
    let base64 = base64(der);
    let lines: Vec<_> = base64.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk
            .iter()
            .enumerate()
            .fold(0, |word, (nth, byte)| word | u32::from(*byte) << (16 - 8 * nth));
        for nth in 0..4 {
            let digit = DIGITS[(word >> (18 - 6 * nth) & 63) as usize] as char;
            text.push(if nth > chunk.len() { '=' } else { digit });
        }
    }
    text
}

#[test]
fn a_request_is_signed_for_exactly_what_was_granted() {
    let ca = ca();
    let granted = server(5);
    let request = SigningRequest::new(&granted).unwrap();

    let now = UnixMillis::now();
    let chain = ca.authority.sign(request.der(), &granted, HOUR, now).unwrap();
    let credentials =
        Credentials::new(request.accept(chain), ca.authority.roots().unwrap()).unwrap();

    assert_eq!(credentials.identity(), &granted);
    let (begins, ends) = credentials.validity();
    assert!(begins < now && ends <= now.plus(HOUR) && ends > now.plus(HOUR / 2));
}

#[test]
fn a_request_for_anything_else_is_refused() {
    let ca = ca();
    let granted = server(5);
    let sign = |der: &[u8]| ca.authority.sign(der, &granted, HOUR, UnixMillis::now());
    let request = |change: &dyn Fn(&mut CertificateParams)| {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names(&granted);
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        params.serialize_request(&key).unwrap().der().to_vec()
    };

    assert!(sign(&request(&|_| {})).is_ok());
    for foreign in [
        SigningRequest::new(&server(6)).unwrap().der().to_vec(),
        SigningRequest::new(&Identity::joiner(NodeId(5))).unwrap().der().to_vec(),
        request(&|params| params.subject_alt_names.push(dns("*.apolo"))),
        request(&|params| params.subject_alt_names.push(uri("apolo://x/admin/1"))),
        request(&|params| params.subject_alt_names.clear()),
        request(&|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
    ] {
        let error = sign(&foreign).unwrap_err();
        assert!(matches!(error, AuthorityError::RequestForeign { .. }), "{error}");
    }
    let mut forged = request(&|_| {});
    *forged.last_mut().unwrap() ^= 1;
    assert!(matches!(sign(&forged), Err(AuthorityError::RequestMalformed)));
    assert!(matches!(sign(b""), Err(AuthorityError::RequestMalformed)));
}

#[test]
fn a_joiners_key_is_not_in_its_request() {
    let request = SigningRequest::new(&server(5)).unwrap();
    let der = request.der().to_vec();
    let ca = ca();
    let chain = ca.authority.sign(&der, &server(5), HOUR, UnixMillis::now()).unwrap();

    let told = [format!("{request:?}"), format!("{:?}", request.accept(chain))];

    assert_eq!(told, ["SigningRequest { .. }", "Leaf { certificates: 1, .. }"]);
    // An EC key in PKCS#8 is 138 bytes; its private half begins after the octet string's header 04 20.
    assert!(!der.windows(4).any(|window| window == [0x02, 0x01, 0x01, 0x04]));
}

#[test]
fn a_leaf_that_does_not_fit_leaves_the_present_one() {
    let ca = ca();
    let credentials = ca.credentials(&server(1), HOUR);
    let before = credentials.validity();
    let longer = HOUR + Duration::from_secs(100);
    let now = UnixMillis::now();

    let foreign = credentials.install(ca.authority.mint(&server(2), longer, now).unwrap());
    let (certificate, _) = forge(&ca.path(), names(&server(1)), |_| {});
    let key = PrivatePkcs8KeyDer::from(KeyPair::generate().unwrap().serialize_der());
    let swapped = credentials.install(Leaf::new(vec![certificate], PrivateKeyDer::from(key)));
    let (nameless, key) = forge(&ca.path(), vec![], |_| {});
    let nameless = credentials.install(Leaf::new(vec![nameless], key));

    assert!(matches!(foreign, Err(AuthorityError::LeafForeign { .. })), "{foreign:?}");
    assert!(matches!(swapped, Err(AuthorityError::LeafMismatch)), "{swapped:?}");
    assert!(matches!(nameless, Err(AuthorityError::LeafRefused(Refusal::UriMissing))));
    assert_eq!(credentials.validity(), before);
    credentials.install(ca.authority.mint(&server(1), longer, now).unwrap()).unwrap();
    assert_ne!(credentials.validity(), before);
    assert_eq!(credentials.identity().cluster, CLUSTER);
}
