//! The hub's everyday behaviour, over connections in memory.

#![cfg(feature = "tokio")]

use std::{pin::pin, time::Duration};

use futures_util::future::{Either, select};
use tok_core::{
    Actor, CloseReason, Device, Hub, HubBuilder, Message, Outcome, Session, async_trait, rt,
    testkit::{MemoryPeer, Read, memory_pair},
};

struct Echo;

#[async_trait]
impl Actor for Echo {
    async fn on_receive(&self, session: &Session, message: Message) {
        session.hub().send(session.device().uid(), message).await.unwrap();
    }
}

fn builder() -> HubBuilder {
    Hub::builder(Echo).runtime(rt::Tokio)
}

fn login(hub: &Hub, uid: &str) -> (MemoryPeer, tokio::task::JoinHandle<CloseReason>) {
    let (transport, peer) = memory_pair(64 * 1024, true);
    (peer, tokio::spawn(hub.serve(Device::new(uid), transport)))
}

fn text(read: Read) -> String {
    match read {
        Read::Message(message) => message.as_text().unwrap().to_owned(),
        other => panic!("expected a message, got {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_comes_back_in_order() {
    let hub = builder().build().unwrap();
    let (mut peer, session) = login(&hub, "alice");
    for n in 0..2_000 {
        peer.send(n.to_string().as_str());
    }
    for n in 0..2_000 {
        assert_eq!(text(peer.recv().await), n.to_string());
    }
    peer.close();
    assert_eq!(session.await.unwrap(), CloseReason::PeerClosed);
    assert_eq!(hub.stats(), Default::default());
}

#[tokio::test(start_paused = true)]
async fn kept_messages_reach_the_next_login_in_order_and_once() {
    let hub = builder().queue(tok_queue::MemoryQueue::default()).build().unwrap();
    for n in 0..300 {
        let receipt = hub.send("bob", n.to_string()).ttl(Duration::from_secs(60)).await.unwrap();
        assert!(receipt.is_stored() && receipt.is_offline());
    }
    let (mut peer, session) = login(&hub, "bob");
    let mut last = None;
    for n in 300..500 {
        last = Some(hub.send("bob", n.to_string()).ttl(Duration::from_secs(60)).await.unwrap());
    }
    for n in 0..500 {
        assert_eq!(text(peer.recv().await), n.to_string());
    }
    // Reading on lets the client's stack answer the last barrier.
    let last = last.unwrap();
    match select(pin!(last.outcome()), pin!(peer.recv())).await {
        Either::Left((outcome, _)) => assert_eq!(outcome, Outcome::Confirmed),
        Either::Right((read, _)) => panic!("{read:?}"),
    }
    drop(last);
    peer.close();
    session.await.unwrap();
    let (mut peer, session) = login(&hub, "bob");
    hub.send("bob", "new").ttl(Duration::from_secs(60)).await.unwrap();
    assert_eq!(text(peer.recv().await), "new");
    drop(peer);
    session.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_newer_login_ends_the_older() {
    let hub = builder().build().unwrap();
    let (mut old, old_session) = login(&hub, "carol");
    old.send("one");
    assert_eq!(text(old.recv().await), "one");
    let (mut new, _) = login(&hub, "carol");
    new.send("two");
    assert_eq!(text(new.recv().await), "two");
    assert_eq!(old.recv().await, Read::Close(CloseReason::Sso));
    old.close();
    assert_eq!(old_session.await.unwrap(), CloseReason::Sso);
    assert_eq!(hub.stats().sessions, 1);
}

#[tokio::test(start_paused = true)]
async fn shutdown_says_goodbye_and_refuses_logins() {
    let hub = builder().build().unwrap();
    let (mut peer, session) = login(&hub, "dave");
    let handle = hub.clone();
    peer.send("hi");
    assert_eq!(text(peer.recv().await), "hi");
    let shutdown = tokio::spawn(async move { handle.shutdown(Duration::from_secs(10)).await });
    assert_eq!(peer.recv().await, Read::Close(CloseReason::Draining));
    peer.close();
    assert_eq!(session.await.unwrap(), CloseReason::Draining);
    assert_eq!(shutdown.await.unwrap().sessions, 1);
    let (mut late, session) = login(&hub, "erin");
    assert_eq!(late.recv().await, Read::Close(CloseReason::Draining));
    drop(late);
    assert_eq!(session.await.unwrap(), CloseReason::Draining);
}
