//! Senders that write to a connection at rest themselves, against its own task.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use shuttle::future::spawn;

use super::support::{ALICE, builder, end, explore, hub, keep, numbers};
use crate::{
    Actor, CloseReason, Device, Message, Session,
    testkit::{MemoryPeer, Read, memory_pair, queue::ReferenceQueue},
};

#[test]
fn messages_of_several_senders_arrive_once_and_in_the_order_of_each() {
    explore(|| async {
        let (hub, queue) = hub();
        let (transport, peer) = memory_pair(1 << 16, true);
        let session = spawn(hub.serve(Device::new(ALICE), transport));
        // The handler answers while others write.
        let client = spawn(read_after_asking(peer, ["echo 1", "echo 2"]));
        // Once it is confirmed the session is there.
        keep(&hub, "hello").await;
        let senders = ["a", "b"].map(|sender| {
            let hub = hub.clone();
            spawn(async move {
                for number in 1..=2 {
                    let receipt = hub.send(ALICE, format!("{sender} {number}")).await.unwrap();
                    assert_eq!(receipt.sessions(), 1);
                }
            })
        });
        for sender in senders {
            sender.await.unwrap();
        }
        let mut read = client.await.unwrap();
        assert_eq!(session.await.unwrap(), CloseReason::PeerClosed);
        end(&hub, &queue, 0).await;

        for sender in ["a", "b", "echo"] {
            let of_one: Vec<_> = read.iter().filter(|text| text.starts_with(sender)).cloned().collect();
            assert_eq!(of_one, [format!("{sender} 1"), format!("{sender} 2")], "{read:?}");
        }
        read.sort();
        read.dedup();
        assert_eq!(read.len(), 7, "{read:?}");
    });
}

/// Sends what is to be echoed when the first message has come, and reads until all have.
async fn read_after_asking(mut peer: MemoryPeer, ask: [&str; 2]) -> Vec<String> {
    let mut all = Vec::new();
    while all.len() < 7 {
        let Read::Message(message) = peer.recv().await else { panic!("closed: {all:?}") };
        if all.is_empty() {
            ask.into_iter().for_each(|text| peer.send(text));
        }
        all.push(message.as_text().unwrap().to_owned());
    }
    peer.close();
    all
}

#[test]
fn a_handler_that_waits_for_room_goes_on_when_there_is_some() {
    explore(|| async {
        let queue = Arc::new(ReferenceQueue::new());
        let hub = builder(Waiting).queue(Arc::clone(&queue)).max_backlog(300).build().unwrap();
        // A message at a time.
        let (transport, mut peer) = memory_pair(1, true);
        let session = spawn(hub.serve(Device::new(ALICE), transport));
        peer.send("go");
        let client = spawn(async move {
            for number in numbers(1..=6) {
                assert_eq!(peer.recv().await, Read::Message(number.as_str().into()));
            }
            peer.close();
        });
        client.await.unwrap();
        assert_eq!(session.await.unwrap(), CloseReason::PeerClosed);
        end(&hub, &queue, 0).await;
    });
}

#[test]
fn tasks_that_wait_for_room_on_clones_all_go_on() {
    explore(|| async {
        let queue = Arc::new(ReferenceQueue::new());
        let opened = Arc::new(OnceLock::<Session>::new());
        // Half of it is room for two messages, the rest for those of tasks that found room at the same time.
        let hub = builder(Waiting).queue(Arc::clone(&queue)).max_backlog(600).open({
            let opened = Arc::clone(&opened);
            move |session| drop(opened.set(session.clone()))
        });
        let hub = hub.build().unwrap();
        // A message at a time.
        let (transport, mut peer) = memory_pair(1, true);
        let serving = spawn(hub.serve(Device::new(ALICE), transport));
        let client = spawn(async move {
            let mut read = Vec::new();
            // One is the message that says that the session is there.
            for _ in 0..7 {
                let Read::Message(message) = peer.recv().await else { panic!("closed: {read:?}") };
                read.push(message.as_text().unwrap().to_owned());
            }
            peer.close();
            read
        });
        keep(&hub, "hello").await;
        let session = opened.get().unwrap().clone();
        let senders = ["a", "b"].map(|sender| {
            let session = session.clone();
            spawn(async move {
                for number in 1..=3 {
                    session.writable().await;
                    session.send(format!("{sender} {number}")).unwrap();
                }
            })
        });
        for sender in senders {
            sender.await.unwrap();
        }
        client.await.unwrap();
        assert_eq!(serving.await.unwrap(), CloseReason::PeerClosed);
        drop(session);
        end(&hub, &queue, 0).await;
    });
}

/// Sends as much as the connection takes.
struct Waiting;

#[async_trait]
impl Actor for Waiting {
    async fn on_receive(&self, session: &Session, _: Message) {
        for number in numbers(1..=6) {
            session.writable().await;
            let _ = session.send(number);
        }
    }
}
