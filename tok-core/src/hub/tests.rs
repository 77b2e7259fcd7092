//! What sessions leave behind when they have ended.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Hub, Session};
use crate::{
    Actor, CloseReason, Device, Message,
    rt::Runtime,
    testkit::{
        MemoryPeer, Read, memory_pair,
        queue::ReferenceQueue,
        sim::{Sim, SimRuntime},
    },
};

/// Joins a room of everybody and one of the user's own, and answers.
struct Joins;

#[async_trait]
impl Actor for Joins {
    async fn on_receive(&self, session: &Session, message: Message) {
        for room in ["all", session.device().uid().as_str()] {
            session.join(room).unwrap();
        }
        session.send(message).unwrap();
    }
}

fn hub(rt: &SimRuntime) -> Hub {
    Hub::builder(Joins).runtime(rt.clone()).queue(Arc::new(ReferenceQueue::new())).build().unwrap()
}

async fn login(rt: &SimRuntime, hub: &Hub, uid: usize) -> MemoryPeer {
    let (transport, mut peer) = memory_pair(64 * 1024, true);
    let session = hub.serve(Device::new(uid), transport);
    rt.spawn("session", Box::pin(async move { assert_eq!(session.await, CloseReason::PeerClosed) }));
    peer.send("ready?");
    assert_eq!(peer.recv().await, Read::Message("ready?".into()));
    peer
}

async fn leave(mut peer: MemoryPeer) {
    peer.close();
    assert_eq!(peer.recv().await, Read::End);
}

/// Room that the hub's tables have, and sessions that wait for a time.
fn left(hub: &Hub) -> [usize; 4] {
    let hub = &hub.inner;
    [hub.timers.len(), hub.everyone.capacity(), hub.registry.capacity(), hub.rooms.capacity()]
}

/// What tables may keep: less than eight places a shard.
const FEW: [usize; 4] = [0, 64 * 8, 64 * 8, 16 * 8];

#[test]
fn ended_sessions_leave_the_timers_and_the_tables_at_once() {
    let sim = Sim::new(7);
    let rt = sim.runtime();
    let outcome = sim.run(async {
        let hub = hub(&rt);
        for uid in 0..1000 {
            leave(login(&rt, &hub, uid).await).await;
        }
        left(&hub)
    });
    let left = outcome.unwrap();
    assert!(left.iter().zip(FEW).all(|(left, few)| *left <= few), "{left:?}");
}

#[test]
fn tables_shrink_after_a_flood_of_sessions() {
    let sim = Sim::new(7);
    let rt = sim.runtime();
    let outcome = sim.run(async {
        let hub = hub(&rt);
        let mut peers = Vec::new();
        for uid in 0..5000 {
            peers.push(login(&rt, &hub, uid).await);
        }
        let all = hub.inner.rooms.find("all").unwrap();
        let full = (left(&hub), all.capacity());
        let one = peers.pop().unwrap();
        for peer in peers {
            leave(peer).await;
        }
        let empty = (left(&hub), all.capacity());
        leave(one).await;
        (full, empty, left(&hub)[0])
    });
    let ((full, room), (empty, room_left), alarms) = outcome.unwrap();
    assert!(full[0] == 5000 && full.iter().all(|full| *full >= 5000) && room >= 5000, "{full:?} {room}");
    assert!(empty[0] == 1 && empty.iter().zip(FEW).skip(1).all(|(left, few)| *left <= few), "{empty:?}");
    assert!(room_left <= 16, "{room_left}");
    assert_eq!(alarms, 0);
}
