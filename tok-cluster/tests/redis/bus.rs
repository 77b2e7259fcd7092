//! Frames over a server that is killed, silent, or has lost a subscription.

use std::{sync::Arc, time::Duration};

use brokers::{Direction, Proxy, RedisServer};
use futures_util::future::join_all;
use tok_cluster::{Answer, Bus, BusError, BusState, Inbound, RedisBroker, RedisBus};

use crate::support::{
    Ear, PATIENCE, SERVER, SHORT, ask, broker, client, node, prefix, soon, until, until_ok,
};

async fn connect(url: String) -> RedisBroker {
    RedisBroker::builder(url).timeout(PATIENCE).connect().await.unwrap()
}

async fn open(bus: &RedisBus, name: &str) -> Arc<Ear> {
    let ear = Ear::new();
    soon("open", bus.open(&node(name), Arc::clone(&ear) as Arc<dyn Inbound>)).await.unwrap();
    ear
}

/// Nobody waits in the table of requests.
fn is_empty(bus: &RedisBus) -> bool {
    format!("{bus:?}").contains("requests: 0,")
}

#[tokio::test]
async fn ten_thousand_unanswered_requests_leave_nothing() {
    let broker = broker().await;
    let (bus, other) = (broker.bus(), broker.bus());
    let ear = open(&other, "b").await;
    let to = node("b");
    // Some end with their timeout, others as nobody waits any longer.
    let asked = join_all((0..5000).map(|_| bus.request(&to, "silence".into(), SHORT)));
    let answered = soon("timeouts", asked).await;
    assert!(answered.iter().all(|answer| matches!(answer, Err(BusError::Timeout))));
    let before = ear.requests().len();
    let asked = join_all((0..5000).map(|_| bus.request(&to, "silence".into(), 10 * PATIENCE)));
    let all_asked = until("all are asked", async || ear.requests().len() == before + 5000);
    futures_util::future::select(Box::pin(asked), Box::pin(all_asked)).await;
    assert_eq!(ear.requests().len(), before + 5000);
    assert!(is_empty(&bus), "{bus:?}");
    assert_eq!(bus.request(&to, "after".into(), PATIENCE).await.unwrap(), "after");
}

#[tokio::test]
async fn a_server_that_was_killed_comes_back() {
    let mut server = RedisServer::start().unwrap();
    let broker = connect(server.url()).await;
    let (bus, other) = (broker.bus(), broker.bus());
    let (ear, others) = (open(&bus, "a").await, open(&other, "b").await);
    let to = node("b");
    for round in 1..=3 {
        // What is under way when the server ends fails then, and not with its timeout.
        let under_way = bus.request(&to, "silence".into(), 10 * PATIENCE);
        let killing = async {
            until("it is under way", async || others.requests().iter().any(|frame| frame == "silence")).await;
            server.kill().unwrap();
        };
        let (answer, ()) = soon("the end", futures_util::future::join(under_way, killing)).await;
        assert!(matches!(answer, Err(BusError::Disconnected)), "{answer:?}");
        until("both are told", async || {
            ear.states().len() == 2 * round - 1 && others.states().len() == 2 * round - 1
        })
        .await;
        for _ in 0..100 {
            let answer = bus.request(&to, "hello".into(), PATIENCE).await;
            assert!(matches!(answer, Err(BusError::Disconnected)), "{answer:?}");
        }
        assert!(matches!(bus.broadcast("all".into()).await, Err(BusError::Disconnected)));
        assert!(is_empty(&bus));
        let heard = others.requests().len();
        server.restart().unwrap();
        until("both are told", async || {
            ear.states().len() == 2 * round && others.states().len() == 2 * round
        })
        .await;
        assert_eq!(others.requests().len(), heard, "nothing was kept for later");
        assert_eq!(soon("again", bus.request(&to, "hello".into(), PATIENCE)).await.unwrap(), "hello");
        bus.broadcast("all".into()).await.unwrap();
        until("the broadcast", async || others.notices().len() == round).await;
    }
    assert_eq!(ear.states(), [BusState::Down, BusState::Gap].repeat(3));
}

#[tokio::test]
async fn a_silent_server_is_a_timeout() {
    let server = RedisServer::start().unwrap();
    let broker = connect(server.url()).await;
    let (bus, other) = (broker.bus(), broker.bus());
    let (_ear, others) = (open(&bus, "a").await, open(&other, "b").await);
    server.suspend().unwrap();
    for _ in 0..3 {
        let answer = soon("silence", bus.request(&node("b"), "hello".into(), SHORT)).await;
        assert!(matches!(answer, Err(BusError::Timeout)), "{answer:?}");
    }
    assert!(is_empty(&bus));
    server.resume().unwrap();
    let answer = until_ok("again", async || bus.request(&node("b"), "again".into(), PATIENCE).await).await;
    assert_eq!(answer, "again");
    assert_eq!(others.states(), [], "it was silent, and nothing is lost");
}

#[tokio::test]
async fn a_subscription_that_is_killed_alone_is_a_gap() {
    let server = RedisServer::start().unwrap();
    let broker = connect(server.url()).await;
    let bus = broker.bus();
    let ear = open(&bus, "a").await;
    for round in 1..=3 {
        let killed: u64 = ask(&server, "CLIENT KILL TYPE pubsub").await;
        assert_eq!(killed, 1);
        until("it is told", async || ear.states().len() == 2 * round).await;
        assert_eq!(bus.request(&node("a"), "me".into(), PATIENCE).await.unwrap(), "me");
    }
    assert_eq!(ear.states(), [BusState::Down, BusState::Gap].repeat(3));
    // The other connection ends without anybody's notice.
    let killed: u64 = ask(&server, "CLIENT KILL TYPE normal").await;
    assert!(killed >= 1);
    let answer = until_ok("again", async || bus.request(&node("a"), "me".into(), PATIENCE).await).await;
    assert_eq!(answer, "me");
    assert_eq!(ear.states().len(), 6);
}

/// Frames pile up on the server when nobody reads them, which ends the subscription there and not the memory here.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn who_reads_too_slowly_is_cut_off_and_comes_back() {
    struct Slow(Ear, std::sync::Mutex<()>);
    impl Inbound for Slow {
        fn request(&self, frame: bytes::Bytes, answer: Answer) {
            self.0.request(frame, answer);
        }
        fn notify(&self, frame: bytes::Bytes) {
            drop(self.1.lock().unwrap());
            self.0.notify(frame);
        }
        fn state(&self, state: BusState) {
            self.0.state(state);
        }
    }

    let server = RedisServer::with_config("client-output-buffer-limit pubsub 1mb 1mb 0\n").unwrap();
    let broker = connect(server.url()).await;
    let (bus, other) = (broker.bus(), connect(server.url()).await.bus());
    let slow = Arc::new(Slow(Ear::default(), std::sync::Mutex::new(())));
    bus.open(&node("a"), Arc::clone(&slow) as Arc<dyn Inbound>).await.unwrap();
    tokio::task::block_in_place(|| {
        let held = slow.1.lock().unwrap();
        tokio::runtime::Handle::current().block_on(async {
            // Valkey does not count what is much larger.
            let frame = bytes::Bytes::from(vec![b'x'; 8 * 1024]);
            until("it is cut off", async || {
                for told in join_all((0..100).map(|_| other.broadcast(frame.clone()))).await {
                    told.unwrap();
                }
                let clients: String = ask(&server, "CLIENT LIST TYPE pubsub").await;
                clients.trim().is_empty()
            })
            .await;
        });
        drop(held);
    });
    until("it is told", async || slow.0.states() == [BusState::Down, BusState::Gap]).await;
    let answer = soon("again", other.request(&node("a"), "hello".into(), PATIENCE)).await;
    assert_eq!(answer.unwrap(), "hello");
}

#[tokio::test]
async fn a_bus_opens_as_soon_as_the_server_is_back() {
    let mut server = RedisServer::start().unwrap();
    let broker = connect(server.url()).await;
    let bus = broker.bus();
    server.kill().unwrap();
    let ear = Ear::new();
    let opened = soon("open", bus.open(&node("a"), Arc::clone(&ear) as Arc<dyn Inbound>)).await;
    assert!(matches!(opened, Err(BusError::Disconnected)), "{opened:?}");
    let asked = bus.request(&node("a"), "me".into(), PATIENCE).await;
    assert!(matches!(asked, Err(BusError::Disconnected)), "{asked:?}");
    server.restart().unwrap();
    until("it is told", async || ear.states() == [BusState::Gap]).await;
    assert_eq!(bus.request(&node("a"), "me".into(), PATIENCE).await.unwrap(), "me");

    // Nothing is tried any more once it is closed.
    bus.close().await;
    server.kill().unwrap();
    server.restart().unwrap();
    let others = connect(server.url()).await.bus();
    let asked = others.request(&node("a"), "anybody?".into(), PATIENCE).await;
    assert!(matches!(asked, Err(BusError::NoResponders)), "{asked:?}");
    assert_eq!(ear.states(), [BusState::Gap]);
}

/// The other node hears nothing: that costs the sender a timeout, and `open` finds it out.
#[tokio::test]
async fn a_subscription_that_died_in_silence_is_made_anew_by_open() {
    let proxy = Proxy::start(SERVER.addr()).unwrap();
    let name = prefix();
    let through = RedisBroker::builder(format!("redis://{}", proxy.addr())).prefix(&name).timeout(2 * SHORT);
    let bus = until_ok("connect", async || through.clone().connect().await).await.bus();
    let other =
        RedisBroker::builder(SERVER.url()).prefix(&name).timeout(PATIENCE).connect().await.unwrap().bus();
    let ear = Ear::new();
    let me = node("a");
    let open = async || bus.open(&me, Arc::clone(&ear) as Arc<dyn Inbound>).await;
    until_ok("open", open).await;
    proxy.hold(Direction::ToClient);
    let asked = other.request(&me, "hello".into(), SHORT).await;
    assert!(matches!(asked, Err(BusError::Timeout)), "{asked:?}");
    let opened = soon("open", open()).await;
    assert!(matches!(opened, Err(BusError::Timeout)), "nothing comes back: {opened:?}");
    proxy.heal();
    until_ok("open", open).await;
    let answer = soon("again", other.request(&me, "again".into(), PATIENCE)).await;
    assert_eq!(answer.unwrap(), "again");
}

#[tokio::test]
async fn a_bus_that_is_dropped_is_gone() {
    let server = RedisServer::start().unwrap();
    let broker = connect(server.url()).await;
    let bus = broker.bus();
    let ear = open(&bus, "a").await;
    drop(bus);
    let other = broker.bus();
    // What is asked before the server has noticed is not answered.
    until("nobody is there", async || {
        let asked = other.request(&node("a"), "hello".into(), SHORT).await;
        matches!(asked, Err(BusError::NoResponders))
    })
    .await;
    drop((other, broker));
    until("all connections are closed", async || {
        let clients: String = ask(&server, "CLIENT LIST").await;
        clients.trim().lines().count() == 1
    })
    .await;
    until("nothing holds the inbound end", async || Arc::strong_count(&ear) == 1).await;
    assert_eq!(ear.states(), []);
}

#[tokio::test]
async fn what_strangers_publish_is_passed_over() {
    let server = RedisServer::start().unwrap();
    let broker = connect(server.url()).await;
    let bus = broker.bus();
    let ear = open(&bus, "a").await;
    for message in [&b""[..], b"hello", b"Q", b"Q1234567812345678", b"A12345678", b"E12345678", &[0xff; 100]]
    {
        let mut command = redis::cmd("PUBLISH");
        command.arg("tok:0:node:a-0000000000000001").arg(message);
        let heard: u64 = command.query_async(&mut client(&server).await).await.unwrap();
        assert_eq!(heard, 1);
    }
    assert_eq!(soon("again", bus.request(&node("a"), "me".into(), PATIENCE)).await.unwrap(), "me");
    // One of them is a request, by chance: its answer finds nobody.
    assert_eq!((ear.requests(), ear.states()), (vec!["".into(), "me".into()], vec![]));
    tokio::time::timeout(Duration::ZERO, bus.close()).await.ok();
}
