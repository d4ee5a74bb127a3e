//! Members that hold the authority's key, and nodes that do not.

mod door;
mod leaves;

use std::{path::Path, sync::Arc, time::Duration};

use apolo::{
    invite::{Renewing, Signer},
    model::{BootEpoch, NodeId, UnixMillis},
    raft::{self, Handle},
    state::{Command, Outcome},
    store::{Memory, Recovered},
    transport::{Credentials, Kept, Options, SigningRequest, Transport},
};

use crate::transport::support::{CLUSTER, Ca, HOUR, anywhere, calm, server, start, until};

/// Soon enough for a test.
const OFTEN: Duration = Duration::from_millis(20);

/// The only voter of a cluster, which holds the authority's key.
struct Member {
    transport: Transport,
    credentials: Arc<Credentials>,
    raft: Handle,
}

impl Member {
    async fn start(ca: &Ca) -> Self {
        let credentials = ca.credentials(&server(1), HOUR);
        let transport = listen(&credentials);
        let options = raft::Options {
            node: NodeId(1),
            store: Arc::new(Memory::default()),
            recovered: Recovered::default(),
            transport: Some(transport.clone()),
            profile: apolo::model::Profile::Lan,
            on_vote: None,
            standings: None,
        };
        let raft = Handle::start(options).await.expect("it starts");
        raft.form([NodeId(1)]).await.expect("it forms");
        until("it leads", || raft.is_leader()).await;
        let member = Self { transport, credentials, raft };
        member.ok(Command::Form { cluster: CLUSTER }).await;
        member
    }

    fn signs(&self, ca: &Ca, lifetime: Duration) -> Signer {
        let signer = Signer::new(self.raft.clone(), Some(ca.path())).with_lifetime(lifetime);
        signer.serve(&self.transport);
        signer
    }

    async fn ok(&self, command: Command) {
        assert_eq!(self.raft.propose(command).await.expect("a commit"), Outcome::Applied);
    }

    async fn stop(self) {
        self.raft.shutdown().await;
        self.transport.stop().await;
    }
}

fn listen(credentials: &Arc<Credentials>) -> Transport {
    let mut options = Options::quic(anywhere(), credentials.clone(), BootEpoch(1));
    options.timings = calm();
    options.timings.refresh_spread = Duration::from_millis(50);
    start(options)
}

/// What a node without the key was given.
fn given(ca: &Ca, node: u64, lifetime: Duration) -> Kept {
    let identity = server(node);
    let request = SigningRequest::new(&identity).expect("a request");
    let chain = ca.authority.sign(request.der(), &identity, lifetime, UnixMillis::now());
    let leaf = request.accept(chain.expect("signed"));
    Kept::new(leaf, ca.authority.certificates().to_vec()).expect("a leaf")
}

/// A node that was given its leaf, and looks after it.
fn guest(kept: Kept, directory: &Path) -> (Transport, Arc<Credentials>, Renewing) {
    let credentials = kept.credentials().expect("a leaf");
    let transport = listen(&credentials);
    let mut renewing =
        Renewing::new(transport.clone(), credentials.clone(), kept, directory.to_owned());
    renewing.check_every = OFTEN;
    (transport, credentials, renewing)
}
