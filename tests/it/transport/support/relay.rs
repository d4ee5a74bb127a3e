//! A relay of datagrams between anyone and one node, which can fall silent: what a dead node or a cut wire looks like.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
};

use tokio::{net::UdpSocket, task::JoinSet};

use super::anywhere;

pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    /// Lets nothing through to the node.
    pub(crate) deaf: Arc<AtomicBool>,
    /// Lets nothing through from the node.
    pub(crate) mute: Arc<AtomicBool>,
    /// Datagrams that came for the node.
    pub(crate) seen: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Relay {
    pub(crate) async fn to(node: SocketAddr) -> Self {
        let outside = Arc::new(UdpSocket::bind(anywhere()).await.expect("a port"));
        let address = outside.local_addr().expect("it is bound");
        let [deaf, mute] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
        let seen = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        tasks.spawn(carry(outside, node, deaf.clone(), mute.clone(), seen.clone()));
        Self { address, deaf, mute, seen, _tasks: tasks }
    }

    pub(crate) fn cut(&self, cut: bool) {
        self.deaf.store(cut, SeqCst);
        self.mute.store(cut, SeqCst);
    }
}

async fn carry(
    outside: Arc<UdpSocket>,
    node: SocketAddr,
    deaf: Arc<AtomicBool>,
    mute: Arc<AtomicBool>,
    seen: Arc<AtomicUsize>,
) {
    let mut inside: BTreeMap<SocketAddr, Arc<UdpSocket>> = BTreeMap::new();
    let mut backs = JoinSet::new();
    let mut buffer = vec![0; 65536];
    loop {
        let Ok((length, from)) = outside.recv_from(&mut buffer).await else { continue };
        seen.fetch_add(1, SeqCst);
        if let std::collections::btree_map::Entry::Vacant(vacant) = inside.entry(from) {
            let socket = Arc::new(UdpSocket::bind(anywhere()).await.expect("a port"));
            vacant.insert(socket.clone());
            let (outside, mute) = (outside.clone(), mute.clone());
            backs.spawn(async move {
                let mut buffer = vec![0; 65536];
                loop {
                    let Ok((length, _)) = socket.recv_from(&mut buffer).await else { continue };
                    if !mute.load(SeqCst) {
                        let _ = outside.send_to(&buffer[..length], from).await;
                    }
                }
            });
        }
        if !deaf.load(SeqCst) {
            let _ = inside[&from].send_to(&buffer[..length], node).await;
        }
    }
}
