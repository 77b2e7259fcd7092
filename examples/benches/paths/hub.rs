//! Through the hub, between connections in memory: the registry, the log and its lane, sessions. And the queue.

use std::{future::Future, time::Duration};

use bytes::Bytes;
use tok_core::{
    Actor, Device, Epoch, Hub, Message, MessageId, MessageKind, Queue, Session, Uid, async_trait,
    queue::{Admit, Entry, Limit, Seq},
    rt::Tokio,
    testkit::{MemoryPeer, Read, memory_pair},
};
use tok_queue::MemoryQueue;
use tokio::runtime::{Builder, Runtime};

use super::{Path, path};

pub(super) const PATHS: &[Path] = &[
    path("hub: echo", 1, echo),
    path("hub: send to a user at rest", 1, || send_among(1)),
    path("hub: send to one of 10,000 users", 1, || send_among(10_000)),
    path("hub: kept message, to its confirmation", 1, kept),
    path("hub: broadcast to 1,000", 1000, broadcast),
    path("hub: login and logout", 1, login),
    path("queue: enqueue, peek and ack in memory", 1, queue),
];

const HOUR: Duration = Duration::from_secs(3600);

struct Echo;

#[async_trait]
impl Actor for Echo {
    async fn on_receive(&self, session: &Session, message: Message) {
        let _ = session.send(message);
    }
}

fn text() -> Message {
    Message::new(MessageKind::Text, Bytes::from_static(&[b'x'; 100]))
}

/// A hub on a runtime of one thread.
struct Server {
    runtime: Runtime,
    hub: Hub,
}

impl Server {
    fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let hub = runtime.block_on(async {
            Hub::builder(Echo).runtime(Tokio).queue(MemoryQueue::new()).build().expect("a hub")
        });
        Self { runtime, hub }
    }

    fn login(&self, uid: &str) -> MemoryPeer {
        let (transport, mut peer) = memory_pair(1 << 20, true);
        self.runtime.spawn(self.hub.serve(Device::new(uid), transport));
        peer.send("hello");
        self.wait(peer.recv());
        peer
    }

    fn wait<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }
}

fn echo() -> Box<dyn FnMut()> {
    let server = Server::new();
    let mut peer = server.login("alice");
    Box::new(move || {
        peer.send(text());
        assert!(matches!(server.wait(peer.recv()), Read::Message(_)));
    })
}

fn send_among(users: usize) -> Box<dyn FnMut()> {
    let server = Server::new();
    let mut peers: Vec<(Uid, MemoryPeer)> =
        (0..users).map(|user| (Uid::from(user), server.login(&user.to_string()))).collect();
    let mut next = 0;
    Box::new(move || {
        // Not the neighbour, whom the processor might have at hand.
        next = (next + 7919) % peers.len();
        let (uid, peer) = &mut peers[next];
        let receipt = server.wait(server.hub.send(&*uid, text()).into_future());
        assert!(receipt.is_ok_and(|receipt| receipt.sessions() == 1));
        assert!(peer.try_recv().is_some());
    })
}

fn kept() -> Box<dyn FnMut()> {
    let server = Server::new();
    let mut peer = server.login("alice");
    Box::new(move || {
        let receipt = server.wait(server.hub.send("alice", text()).ttl(HOUR).into_future()).expect("kept");
        assert!(matches!(server.wait(peer.recv()), Read::Message(_)));
        // The peer's stack answers the question behind it when it reads on.
        assert!(peer.try_recv().is_none());
        server.wait(async {
            tokio::select! {
                biased;
                _ = receipt.outcome() => {}
                _ = peer.recv() => unreachable!("nothing else is sent"),
            }
        });
    })
}

fn broadcast() -> Box<dyn FnMut()> {
    let server = Server::new();
    let mut peers: Vec<MemoryPeer> = (0..1000).map(|user: u32| server.login(&user.to_string())).collect();
    Box::new(move || {
        assert_eq!(server.wait(server.hub.broadcast(text())).ok(), Some(peers.len()));
        assert!(peers.iter_mut().all(|peer| peer.try_recv().is_some()));
    })
}

fn login() -> Box<dyn FnMut()> {
    let server = Server::new();
    Box::new(move || {
        let (transport, peer) = memory_pair(1 << 20, true);
        let session = server.runtime.spawn(server.hub.serve(Device::new("alice"), transport));
        drop(peer);
        server.wait(session).expect("a session that ends");
    })
}

fn queue() -> Box<dyn FnMut()> {
    use tok_core::testkit::queue::block_on;

    let (queue, uid) = (MemoryQueue::new(), Uid::from("alice"));
    let entry = Entry {
        id: MessageId::from_u128(1),
        kind: MessageKind::Text,
        data: Bytes::from_static(&[b'x'; 100]),
        ttl: None,
    };
    Box::new(move || {
        let stored = block_on(queue.enqueue(&uid, std::slice::from_ref(&entry), Admit::WithinLimits));
        let page = block_on(queue.peek(&uid, Seq::START, Limit::default())).expect("a page");
        assert_eq!(page.entries.len(), 1);
        let last = stored.expect("stored").seqs[0];
        block_on(queue.ack(&uid, last, Epoch::new(1))).expect("acknowledged");
    })
}
