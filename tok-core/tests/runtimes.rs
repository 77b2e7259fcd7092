//! Any runtime, the same behaviour: one scenario on each.

use std::{pin::pin, time::Duration};

use futures_util::future::{Either, join, select};
use tok_core::{
    Actor, CloseReason, Device, Hub, Message, Outcome, Session, async_trait,
    rt::Runtime,
    testkit::{MemoryPeer, Read, memory_pair},
};

struct Echo;

#[async_trait]
impl Actor for Echo {
    async fn on_receive(&self, session: &Session, message: Message) {
        session.hub().send(session.device().uid(), message).await.unwrap();
    }
}

const LONG: Duration = Duration::from_secs(3600);

/// The hub of the scenario, and one that is impatient with peers that say nothing.
fn build(runtime: &(impl Runtime + Clone)) -> (Hub, Hub) {
    let builder = || Hub::builder(Echo).runtime(runtime.clone()).ping_interval(Duration::ZERO);
    let hub = builder().queue(tok_queue::MemoryQueue::default()).build().unwrap();
    (hub, builder().read_timeout(Duration::from_millis(50)).build().unwrap())
}

/// A session in a task of the runtime's own.
fn login(hub: &Hub, uid: &str) -> MemoryPeer {
    let (transport, peer) = memory_pair(64 * 1024, true);
    let session = hub.serve(Device::new(uid), transport);
    hub.runtime().spawn(
        "session",
        Box::pin(async move {
            session.await;
        }),
    );
    peer
}

async fn text(peer: &mut MemoryPeer) -> String {
    match peer.recv().await {
        Read::Message(message) => message.as_text().unwrap().to_owned(),
        other => panic!("expected a message, got {other:?}"),
    }
}

/// Messages in order, live and kept; a receipt; a takeover; a timeout; a shutdown.
async fn scenario((hub, impatient): (Hub, Hub)) {
    let mut alice = login(&hub, "alice");
    for n in 0..300 {
        alice.send(n.to_string().as_str());
    }
    for n in 0..300 {
        assert_eq!(text(&mut alice).await, n.to_string());
    }

    let mut last = None;
    for n in 0..50 {
        last = Some(hub.send("bob", n.to_string()).ttl(LONG).await.unwrap());
    }
    let last = last.unwrap();
    assert!(last.is_offline() && last.is_stored());
    let mut bob = login(&hub, "bob");
    for n in 0..50 {
        assert_eq!(text(&mut bob).await, n.to_string());
    }
    // Reading on lets the client's stack answer what it is asked.
    match select(pin!(last.outcome()), pin!(bob.recv())).await {
        Either::Left((outcome, _)) => assert_eq!(outcome, Outcome::Confirmed),
        Either::Right((read, _)) => panic!("{read:?}"),
    }
    drop(last);

    let mut newer = login(&hub, "bob");
    assert_eq!(bob.recv().await, Read::Close(CloseReason::Sso));
    bob.close();
    newer.send("mine");
    assert_eq!(text(&mut newer).await, "mine");

    let mut silent = login(&impatient, "silent");
    assert_eq!(silent.recv().await, Read::Close(CloseReason::Idle));
    silent.close();

    let goodbyes = async {
        for peer in [&mut alice, &mut newer] {
            assert_eq!(peer.recv().await, Read::Close(CloseReason::Draining));
            peer.close();
        }
    };
    let (report, ()) = join(hub.shutdown(Duration::from_secs(60)), goodbyes).await;
    assert_eq!((report.forced, report.unstored), (0, 0));
    assert_eq!(hub.stats(), Default::default());
}

macro_rules! on {
    ($(#[$attribute:meta])* $name:ident: $run:expr) => {
        $(#[$attribute])*
        #[test]
        fn $name() {
            $run;
        }
    };
}

on!(
    #[cfg(feature = "tokio")]
    tokio_with_many_threads: tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()
        .unwrap()
        .block_on(async { scenario(build(&tok_core::rt::Tokio)).await })
);

on!(
    #[cfg(feature = "tokio")]
    tokio_with_one_thread: tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(async { scenario(build(&tok_core::rt::Tokio)).await })
);

on!(
    #[cfg(feature = "tokio")]
    tokio_with_paused_time: tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(async { scenario(build(&tok_core::rt::Tokio)).await })
);

on!(
    #[cfg(feature = "smol")]
    smol: smol::block_on(scenario(build(&tok_core::rt::Smol)))
);

on!(
    simulator: for seed in 0..20 {
        let sim = tok_core::testkit::sim::Sim::new(seed);
        assert_eq!(sim.run(scenario(build(&sim.runtime()))), Ok(()), "seed {seed}");
    }
);

/// The hub has captured tokio where it was built, and is used where there is none.
#[cfg(feature = "tokio")]
#[test]
#[allow(clippy::disallowed_methods)] // A thread that no runtime knows is what this is about.
fn tokio_from_a_plain_thread() {
    let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let hubs = tokio.block_on(async { build(&tok_core::rt::Tokio) });
    std::thread::spawn(move || {
        assert!(tokio::runtime::Handle::try_current().is_err());
        tok_core::testkit::queue::block_on(scenario(hubs));
    })
    .join()
    .unwrap();
}
