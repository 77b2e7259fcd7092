//! Broadcasts and rooms against logins, joins and each other.

use std::{
    pin::pin,
    sync::{Arc, OnceLock},
    task::{Context, Waker},
};

use async_trait::async_trait;
use shuttle::future::{spawn, yield_now};

use super::support::{builder, connect_as, end, explore};
use crate::{
    Actor, CloseReason, Device, Hub, Message, Session,
    testkit::{MemoryPeer, Read, memory_pair, queue::ReferenceQueue},
};

/// Does nothing.
struct Idle;

#[async_trait]
impl Actor for Idle {
    async fn on_receive(&self, _: &Session, _: Message) {}
}

/// Keeps sessions for tests, by uid.
#[derive(Clone, Default)]
struct Opened(Arc<[OnceLock<Session>; 3]>);

const UIDS: [&str; 3] = ["ann", "ben", "cleo"];

impl Opened {
    fn hub(&self, queue: &Arc<ReferenceQueue>) -> Hub {
        let Self(opened) = self.clone();
        let keep = move |session: &Session| {
            let index = UIDS.iter().position(|uid| *uid == session.device().uid().as_str());
            let _ = opened[index.unwrap()].set(session.clone());
        };
        builder(Idle).queue(Arc::clone(queue)).open(keep).build().unwrap()
    }

    /// The session of the user with this index, once it is there.
    async fn session(&self, user: usize) -> Session {
        loop {
            match self.0[user].get() {
                Some(session) => return session.clone(),
                None => yield_now().await,
            }
        }
    }
}

/// Logs in, which takes effect in the first poll, and leaves at once.
fn login_and_leave(hub: &Hub, uid: &str) {
    let (transport, _peer) = memory_pair(1 << 16, true);
    let serving = pin!(hub.serve(Device::new(uid), transport));
    assert!(serving.poll(&mut Context::from_waker(Waker::noop())).is_pending());
}

#[test]
fn a_broadcast_that_is_stuck_at_one_session_holds_up_no_login_to_another_shard() {
    explore(|| async {
        let (queue, opened) = (Arc::new(ReferenceQueue::new()), Opened::default());
        let hub = opened.hub(&queue);
        let (ann, _) = connect_as(&hub, UIDS[0]);
        let session = opened.session(0).await;
        let broadcast = {
            let stuck = session.core.slot.lock();
            let broadcast = spawn({
                let hub = hub.clone();
                async move { hub.broadcast("all").await }
            });
            login_and_leave(&hub, UIDS[1]);
            drop(stuck);
            broadcast
        };
        assert!(1 <= broadcast.await.unwrap().unwrap());
        drop((session, opened));
        end(&hub, &queue, 0).await;
        ann.await.unwrap();
    });
}

#[test]
fn all_sessions_see_broadcasts_in_the_same_order() {
    explore(|| async {
        let (queue, opened) = (Arc::new(ReferenceQueue::new()), Opened::default());
        let hub = opened.hub(&queue);
        let clients = [UIDS[0], UIDS[1]].map(|uid| {
            let (transport, peer) = memory_pair(1 << 16, true);
            (spawn(hub.serve(Device::new(uid), transport)), spawn(read_two(peer)))
        });
        let sessions = (opened.session(0).await, opened.session(1).await);
        let senders = ["1", "2"].map(|text| {
            let hub = hub.clone();
            spawn(async move { hub.broadcast(text).await.unwrap() })
        });
        for sender in senders {
            sender.await.unwrap();
        }
        drop((sessions, opened));
        let [(first, one), (second, other)] = clients;
        let read = one.await.unwrap();
        assert_eq!(other.await.unwrap(), read);
        assert!(read == ["1", "2"] || read == ["2", "1"], "{read:?}");
        for session in [first, second] {
            assert_eq!(session.await.unwrap(), CloseReason::PeerClosed);
        }
        end(&hub, &queue, 0).await;
    });
}

async fn read_two(mut peer: MemoryPeer) -> [String; 2] {
    let mut texts = [String::new(), String::new()];
    for text in &mut texts {
        let Read::Message(message) = peer.recv().await else { panic!("closed") };
        *text = message.as_text().unwrap().to_owned();
    }
    peer.close();
    texts
}

#[test]
fn a_publish_that_is_stuck_at_one_member_holds_up_no_join_to_another_room() {
    explore(|| async {
        let (queue, opened) = (Arc::new(ReferenceQueue::new()), Opened::default());
        let hub = opened.hub(&queue);
        let clients = UIDS.map(|uid| connect_as(&hub, uid));
        let (ann, ben, cleo) = (opened.session(0).await, opened.session(1).await, opened.session(2).await);
        ann.join("tea").unwrap();
        let stuck = ann.core.slot.lock();
        let publish = spawn({
            let hub = hub.clone();
            async move { hub.publish("tea", "all").await }
        });
        let join = spawn(async move { ben.join("tea") });
        assert_eq!(cleo.join("coffee"), Ok(1));
        assert_eq!(cleo.leave("coffee"), 0);
        drop(stuck);
        assert!(1 <= publish.await.unwrap().unwrap());
        assert_eq!(join.await.unwrap(), Ok(1));
        drop((ann, cleo, opened));
        end(&hub, &queue, 0).await;
        for (session, _) in clients {
            session.await.unwrap();
        }
    });
}

#[test]
fn a_room_that_is_left_by_its_last_member_and_joined_at_once_is_one_room() {
    explore(|| async {
        let (queue, opened) = (Arc::new(ReferenceQueue::new()), Opened::default());
        let hub = opened.hub(&queue);
        let clients = UIDS.map(|uid| connect_as(&hub, uid));
        let (ann, ben, cleo) = (opened.session(0).await, opened.session(1).await, opened.session(2).await);
        ann.join("tea").unwrap();
        let joins = [ben.clone(), cleo.clone()].map(|session| spawn(async move { session.join("tea") }));
        assert_eq!(ann.leave("tea"), 0);
        for join in joins {
            assert_eq!(join.await.unwrap(), Ok(1));
        }
        assert_eq!(hub.publish("tea", "both").await.unwrap(), 2);
        let leaves = [ben, cleo].map(|session| spawn(async move { session.leave("tea") }));
        for leave in leaves {
            assert_eq!(leave.await.unwrap(), 0);
        }
        assert!(hub.inner.rooms.find("tea").is_none());
        drop((ann, opened));
        end(&hub, &queue, 0).await;
        for (session, _) in clients {
            session.await.unwrap();
        }
    });
}
