//! Who is let in, and who is not.

use std::time::Duration;

use apolo::{
    cluster::{Candidates, Waiting},
    invite::{Admission, Enrol, EnrolError, Enrolled},
    model::{ClusterId, NodeId, TokenId, UnixMillis},
    state::{Command, NewToken},
    transport::{Doorstep, Identity, JoinSecret, JoinToken, SigningRequest},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Member;
use crate::transport::support::{CLUSTER, Ca, HOUR, PATIENCE, ca, server, within};

/// A member whose door is open, and a token.
async fn open(ca: &Ca) -> (Member, JoinToken) {
    let member = Member::start(ca).await;
    let signer = member.signs(ca, HOUR);
    let (raft, transport) = (member.raft.clone(), member.transport.clone());
    member.transport.open_door(Admission::new(raft, transport, signer));
    let (secret, salt) = (JoinSecret::create(), [7; 16]);
    let new = NewToken {
        id: TokenId(5),
        name: None,
        salt,
        hash: secret.salted(&salt),
        lifetime_ms: 3_600_000,
        at: UnixMillis(0),
    };
    member.ok(Command::CreateToken(new)).await;
    (member, JoinToken { id: TokenId(5), secret, pin: ca.authority.pin() })
}

fn enrol(member: &Member, token: &JoinToken) -> (Enrol, watch::Receiver<Option<Waiting>>) {
    let address = member.transport.address().to_string().parse().expect("a peer");
    let (waiting, told) = watch::channel(None);
    let enrol = Enrol {
        token: token.clone(),
        node: NodeId(2),
        name: "two".to_owned(),
        cluster: None,
        candidates: Candidates::new(vec![address], None),
        waiting,
    };
    (enrol, told)
}

async fn run(enrol: Enrol) -> Result<Enrolled, EnrolError> {
    within("it ends", enrol.run(CancellationToken::new())).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_joiner_gets_a_leaf_for_itself_and_knows_a_member() {
    let ca = ca();
    let (member, token) = open(&ca).await;

    let enrolled = run(enrol(&member, &token).0).await.expect("it is let in");

    assert_eq!(enrolled.kept.identity(), &server(2));
    assert_eq!(enrolled.kept.authorities(), ca.authority.certificates());
    assert_eq!(enrolled.members, [(NodeId(1), member.transport.address())]);
    member.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_another_cluster_than_the_directorys_is_not_shown() {
    let ca = ca();
    let (member, token) = open(&ca).await;
    let own = ClusterId(Uuid::from_u128(1));
    let mut enrol = enrol(&member, &token).0;
    enrol.cluster = Some(own);

    let error = run(enrol).await.expect_err("another cluster");

    let EnrolError::OtherCluster { token: found, own: known } = error else { panic!("{error}") };
    assert_eq!((found, known), (CLUSTER, own));
    let state = member.raft.states().borrow().clone();
    assert_eq!(state.tokens()[&TokenId(5)].used, None);
    member.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn five_wrong_tokens_keep_the_right_one_out_for_a_while() {
    let ca = ca();
    let (member, token) = open(&ca).await;
    for _ in 0..5 {
        let guess = JoinToken { secret: JoinSecret::create(), ..token.clone() };
        let error = run(enrol(&member, &guess).0).await.expect_err("a guess");
        assert!(matches!(error, EnrolError::Refused { .. }), "{error}");
    }

    let (right, mut told) = enrol(&member, &token);
    let stop = CancellationToken::new();
    let task = tokio::spawn(right.run(stop.clone()));
    let said = within("it waits", told.wait_for(Option::is_some)).await.expect("it runs").clone();
    stop.cancel();

    let said = said.expect("a reason").to_string();
    assert!(said.contains("too many wrong tokens"), "{said}");
    assert!(matches!(task.await.expect("it ends"), Err(EnrolError::Stopped)));
    let state = member.raft.states().borrow().clone();
    assert_eq!(state.tokens()[&TokenId(5)].used, None);
    member.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_id_of_a_node_that_is_known_is_given_to_nobody_else() {
    let ca = ca();
    let (member, token) = open(&ca).await;
    let boot = apolo::model::BootEpoch(1);
    let known = Command::StartNode { node: NodeId(2), name: "known".to_owned(), boot };
    member.ok(known).await;

    let error = run(enrol(&member, &token).0).await.expect_err("it is another's");

    let said = error.to_string();
    assert!(said.contains("--name known"), "{said}");
    tokio::time::timeout(Duration::from_secs(60), member.stop()).await.expect("it stops");
}

/// A request as the wire has it, and whether it was let in.
async fn knock(member: &Member, token: &JoinToken, node: u64, request: &[u8]) -> bool {
    let body = (token.id, *token.secret.expose(), NodeId(node), "two", request.to_vec());
    let bytes = postcard::to_extend(&body, vec![1]).expect("it fits");
    let met = Doorstep::at(member.transport.address(), token.pin, PATIENCE).await;
    let answer = met.expect("a member").ask(&bytes, PATIENCE).await.expect("an answer");
    assert!(matches!(answer[..2], [1, 0 | 1]), "{answer:?}");
    answer[1] == 0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_to_sign_anything_else_is_refused_and_uses_up_no_token() {
    let ca = ca();
    let (member, token) = open(&ca).await;
    let other = ClusterId(Uuid::from_u128(1));
    let request = |identity| SigningRequest::new(&identity).expect("a request").der().to_vec();
    let mut unsigned = request(server(2));
    *unsigned.last_mut().expect("a signature") ^= 1;

    for wrong in [
        request(server(1)),
        request(server(3)),
        request(Identity::joiner(NodeId(2))),
        request(Identity::server(other, NodeId(2))),
        unsigned,
        b"none at all".to_vec(),
        Vec::new(),
    ] {
        assert!(!knock(&member, &token, 2, &wrong).await);
    }

    let state = member.raft.states().borrow().clone();
    assert_eq!(state.tokens()[&TokenId(5)].used, None);
    assert!(knock(&member, &token, 2, &request(server(2))).await);
    member.stop().await;
}
