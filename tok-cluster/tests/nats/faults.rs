//! A bus whose server is silent, cut off, killed, or has forgotten a subscription.

use std::{process::Command, sync::Arc, time::Duration};

use brokers::{Direction, NatsServer, Proxy};
use futures_util::future::{join, join_all};
use tok_cluster::{Bus, BusError, BusState, Cluster, NatsBroker, NatsBus, Registry, RegistryError};
use tok_core::{Actor, Hub, Message, Session, async_trait, relay::Relay, rt::Tokio};

use super::{
    SERVER, SHORT, builder,
    support::{Ear, LONG, PATIENCE, claim, node, prefix, soon, until, until_ok},
};

/// A node that has opened.
async fn open(broker: &NatsBroker, name: &str) -> (NatsBus, Arc<Ear>) {
    let (bus, ear) = (broker.bus(), Ear::new());
    bus.open(&node(name), Arc::clone(&ear) as _).await.unwrap();
    (bus, ear)
}

async fn ask(bus: &NatsBus, to: &str, frame: &'static str) -> Result<(), BusError> {
    bus.request(&node(to), frame.into(), PATIENCE).await.map(drop)
}

#[tokio::test]
async fn a_server_that_is_killed_is_found_out_at_once_and_all_works_again_by_itself() {
    let mut server = NatsServer::start().unwrap();
    let (first, second) = (NatsBroker::builder(server.url()), NatsBroker::builder(server.url()));
    let (first, second) = (first.connect().await.unwrap(), second.connect().await.unwrap());
    let (a, b) = (open(&first, "a").await, open(&second, "b").await);
    for round in 1..4 {
        let waiting = async {
            let waited = ask(&a.0, "b", "silence").await;
            assert!(matches!(waited, Err(BusError::Disconnected)), "round {round}: {waited:?}");
        };
        let killing = async {
            until("b has the request", async || b.1.requests() > 0).await;
            server.kill().unwrap();
        };
        soon("the request fails", async { join(waiting, killing).await }).await;
        for (bus, ear) in [&a, &b] {
            until("both are told", async || ear.states().len() == round * 2 - 1).await;
            let refused = soon("a request while it is away", ask(bus, "a", "hello")).await;
            assert!(matches!(refused, Err(BusError::Disconnected)), "round {round}: {refused:?}");
            let refused = soon("a broadcast while it is away", bus.broadcast("hello".into())).await;
            assert!(matches!(refused, Err(BusError::Disconnected)), "round {round}: {refused:?}");
            let refused = soon("opening while it is away", bus.open(&node("c"), Ear::new())).await;
            assert!(matches!(refused, Err(BusError::Disconnected)), "round {round}: {refused:?}");
        }
        server.restart().unwrap();
        for (_, ear) in [&a, &b] {
            until("both are told", async || ear.states().len() == round * 2).await;
            assert_eq!(ear.states(), [BusState::Down, BusState::Gap].repeat(round));
        }
        // Who is told that it is back can be reached.
        soon("a is there", ask(&b.0, "a", "hello")).await.unwrap();
        soon("b is there", ask(&a.0, "b", "hello")).await.unwrap();
        a.0.broadcast("all".into()).await.unwrap();
        until("both hear it", async || (a.1.notices(), b.1.notices()) == (round, round)).await;
    }
}

#[tokio::test]
async fn a_silent_server_costs_the_timeout_and_nothing_is_ok() {
    let server = NatsServer::start().unwrap();
    let broker = NatsBroker::builder(server.url()).timeout(SHORT).connect().await.unwrap();
    let (bus, _ear) = open(&broker, "a").await;
    let registry = broker.registry();
    server.suspend().unwrap();
    for _ in 0..3 {
        let answered = soon("a silent server", bus.request(&node("a"), "hello".into(), SHORT)).await;
        assert!(matches!(answered, Err(BusError::Timeout)), "{answered:?}");
        let opened = soon("a silent server", broker.bus().open(&node("b"), Ear::new())).await;
        assert!(matches!(opened, Err(BusError::Timeout)), "{opened:?}");
        let claimed = soon("a silent server", claim(&registry, "alice", "a")).await;
        assert!(matches!(claimed, Err(RegistryError::Unavailable(_))), "{claimed:?}");
        let held = soon("a silent server", registry.beat(&node("a"), LONG)).await;
        assert!(matches!(held, Err(RegistryError::Unavailable(_))), "{held:?}");
    }
    server.resume().unwrap();
    until_ok("a answers", async || bus.request(&node("a"), "hello".into(), SHORT).await).await;
    // Of the claims that were on their way one may have been stored; those behind it expected something else.
    let claimed = until_ok("the registry answers", async || claim(&registry, "alice", "b").await).await;
    assert!(claimed.others.len() <= 1, "{claimed:?}");
}

/// A network that loses what comes in, until it is found out by pings.
#[tokio::test]
async fn a_network_that_swallows_what_comes_in_is_told() {
    let proxy = Proxy::start(SERVER.addr()).unwrap();
    let name = prefix();
    let direct = NatsBroker::builder(SERVER.url()).prefix(&name).connect().await.unwrap();
    let behind = NatsBroker::builder(format!("nats://{}", proxy.addr())).prefix(&name).timeout(SHORT);
    let behind = behind.connect().await.unwrap();
    let (a, _) = open(&direct, "a").await;
    let (b, ear) = open(&behind, "b").await;
    proxy.hold(Direction::ToClient);
    let answered = a.request(&node("b"), "hello".into(), SHORT).await;
    assert!(matches!(answered, Err(BusError::Timeout)), "{answered:?}");
    let itself = b.request(&node("b"), "hello".into(), SHORT).await;
    assert!(matches!(itself, Err(BusError::Timeout)), "{itself:?}");
    let opened = b.open(&node("b"), Arc::clone(&ear) as _).await;
    assert!(matches!(opened, Err(BusError::Timeout)), "{opened:?}");
    proxy.heal();
    until_ok("b opens again", async || b.open(&node("b"), Arc::clone(&ear) as _).await).await;
    soon("b is there", ask(&a, "b", "hello")).await.unwrap();
    assert!(ear.requests() > 0);
}

#[tokio::test]
async fn a_connection_that_is_cut_is_told_and_comes_back() {
    let proxy = Proxy::start(SERVER.addr()).unwrap();
    let url = format!("nats://{}", proxy.addr());
    let broker = NatsBroker::builder(url).prefix(prefix()).connect().await.unwrap();
    let (bus, ear) = open(&broker, "a").await;
    proxy.cut();
    until("it is told", async || ear.states() == [BusState::Down]).await;
    proxy.heal();
    until("it is told", async || ear.states() == [BusState::Down, BusState::Gap]).await;
    soon("a is there", ask(&bus, "a", "hello")).await.unwrap();
}

/// More than the network and the client hold: what was not written yet fails as well, and at once.
#[tokio::test]
async fn what_waits_to_be_written_fails_with_the_connection() {
    let proxy = Proxy::start(SERVER.addr()).unwrap();
    let url = format!("nats://{}", proxy.addr());
    let broker = NatsBroker::builder(url).prefix(prefix()).connect().await.unwrap();
    let (bus, ear) = open(&broker, "a").await;
    proxy.hold(Direction::ToServer);
    let frame = bytes::Bytes::from(vec![0; 64 * 1024]);
    let to = node("a");
    let asked = join_all((0..2000).map(|_| bus.request(&to, frame.clone(), PATIENCE * 2)));
    let cutting = async {
        tokio::task::yield_now().await;
        proxy.cut();
    };
    let (results, ()) = soon("all fail", join(asked, cutting)).await;
    assert!(results.iter().all(|result| matches!(result, Err(BusError::Disconnected))));
    proxy.heal();
    until("it is told", async || ear.states().ends_with(&[BusState::Gap])).await;
    until_ok("a is there", async || ask(&bus, "a", "hello").await).await;
    // What the client had taken it may send now.
    assert!(ear.requests() < 600, "{} requests arrived late", ear.requests());
}

/// The server forgets the subscription, and the client does not know: its user was forbidden it for a moment.
#[tokio::test]
async fn a_subscription_that_died_silently_is_made_anew_by_opening_again() {
    let forbidding = Forbidding::start();
    let broker = NatsBroker::builder(forbidding.url()).connect().await.unwrap();
    let (bus, ear) = open(&broker, "a").await;
    ask(&bus, "a", "hello").await.unwrap();
    forbidding
        .forget_subscriptions(async || matches!(ask(&bus, "a", "hello").await, Err(BusError::NoResponders)))
        .await;
    let answered = ask(&bus, "a", "hello").await;
    assert!(matches!(answered, Err(BusError::NoResponders)), "it stays dead by itself: {answered:?}");
    bus.open(&node("a"), Arc::clone(&ear) as _).await.unwrap();
    ask(&bus, "a", "hello").await.unwrap();
    assert_eq!(ear.states(), [], "the connection was never lost");
}

/// A server that can forbid a user its subscriptions.
pub(crate) struct Forbidding(NatsServer);

impl Forbidding {
    pub(crate) fn start() -> Self {
        Self(NatsServer::with_config(&Self::config(false)).unwrap())
    }

    pub(crate) fn url(&self) -> String {
        self.0.url().replace("//", "//u:p@")
    }

    fn config(forbids: bool) -> String {
        let deny = if forbids { r#", subscribe: { deny: ["tok.n.>", "tok.all"] }"# } else { "" };
        format!(
            "authorization {{ users: [{{ user: u, password: p, permissions: {{ publish: \">\"{deny} }} }}] }}\n"
        )
    }

    /// Forbids them until `are_gone`, and allows them again.
    pub(crate) async fn forget_subscriptions(&self, are_gone: impl AsyncFnMut() -> bool) {
        self.reload(true);
        until("the server has forgotten the subscriptions", are_gone).await;
        self.reload(false);
        // The server reads its configuration when it gets to it.
        let broker = NatsBroker::builder(self.url()).connect().await.unwrap();
        until("the server allows them again", async || {
            let (bus, _ear) = open(&broker, "probe").await;
            ask(&bus, "probe", "hello").await.is_ok()
        })
        .await;
    }

    fn reload(&self, forbids: bool) {
        let data = self.0.data_dir();
        std::fs::write(data.parent().unwrap().join("config"), Self::config(forbids)).unwrap();
        let mut files =
            std::fs::read_dir(data).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
        let ports = files.find(|name| name.ends_with(".ports")).unwrap();
        let pid = ports.trim_end_matches(".ports").rsplit('_').next().unwrap().to_owned();
        assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
    }
}

/// Beyond the limit is refused, and what is under way is answered.
#[tokio::test]
async fn what_is_under_way_is_bounded() {
    let proxy = Proxy::start(SERVER.addr()).unwrap();
    let url = format!("nats://{}", proxy.addr());
    let broker = NatsBroker::builder(url).prefix(prefix()).max_in_flight(3).timeout(PATIENCE);
    let broker = broker.connect().await.unwrap();
    let (bus, ear) = open(&broker, "a").await;
    let registry = broker.registry();
    proxy.hold(Direction::ToClient);
    let uids = ["0", "1", "2", "3", "4", "5", "6", "7"];
    let asked = join_all(uids.map(|uid| async {
        let answered = ask(&bus, "a", "hello").await;
        let claimed = claim(&registry, uid, "a").await;
        // The first to be refused let the others through.
        proxy.heal();
        (answered, claimed)
    }));
    let results = soon("those under way are answered", asked).await;
    let refused =
        results.iter().filter(|(answered, _)| matches!(answered, Err(BusError::Overloaded))).count();
    assert_eq!(refused, 5, "{results:?}");
    assert!(results.iter().all(|(answered, _)| !matches!(answered, Err(BusError::Timeout))));
    assert_eq!(ear.requests(), 3);
    assert!(
        results.iter().any(|(_, claimed)| matches!(claimed, Err(RegistryError::Overloaded))),
        "{results:?}"
    );
    claim(&registry, "later", "a").await.unwrap();
}

/// A listener that does not keep up costs itself answers, and nobody else.
#[tokio::test]
async fn ten_thousand_requests_at_once_are_answered() {
    let broker = builder().max_in_flight(10_000).connect().await.unwrap();
    let (bus, ear) = open(&broker, "a").await;
    let asked = (0..10_000).map(|_| ask(&bus, "a", "hello"));
    let results = soon("10,000 answers", join_all(asked)).await;
    assert!(results.iter().all(Result::is_ok));
    assert_eq!(ear.requests(), 10_000);
}

/// A frame for a server that takes less than others.
#[tokio::test]
async fn the_servers_limit_is_the_buss() {
    let server = NatsServer::with_config("max_payload: 100KB\n").unwrap();
    let broker = NatsBroker::builder(server.url()).connect().await.unwrap();
    let (bus, _ear) = open(&broker, "a").await;
    assert_eq!(bus.max_frame(), 100 * 1024);
    let frame = vec![0; 100 * 1024 + 1];
    let refused = bus.request(&node("a"), frame.into(), Duration::from_secs(1)).await;
    assert!(matches!(refused, Err(BusError::TooLarge { bytes: 102_401, limit: 102_400 })), "{refused:?}");
    ask(&bus, "a", "hello").await.unwrap();
}

struct Nothing;

#[async_trait]
impl Actor for Nothing {
    async fn on_receive(&self, _: &Session, _: Message) {}
}

#[tokio::test]
async fn a_hub_whose_messages_pass_the_servers_limit_is_refused() {
    let server = NatsServer::with_config("max_payload: 100KB\n").unwrap();
    let broker = NatsBroker::builder(server.url()).connect().await.unwrap();
    let cluster = Cluster::builder(broker.registry(), broker.bus()).node("a").runtime(Tokio).build().unwrap();
    let limit = cluster.max_message().unwrap();
    let refused = Hub::builder(Nothing).runtime(Tokio).relay(cluster).max_outgoing(100 * 1024).build();
    let text = refused.unwrap_err().to_string();
    assert!(text.contains("102400") && text.contains(&limit.to_string()), "{text}");
}

/// What a session holds while its peer does not read is the message, and not the buffer that it was read into.
#[tokio::test]
async fn a_frame_is_held_in_memory_of_its_own() {
    let broker = builder().connect().await.unwrap();
    let (bus, ear) = open(&broker, "a").await;
    // The client's buffer grows with the large one, and the small one is read into it.
    let (large, small) = (vec![0; 512 * 1024], vec![1; 5000]);
    let to = node("a");
    let asked = [large, small].map(|frame| bus.request(&to, frame.into(), PATIENCE));
    assert!(join_all(asked).await.iter().all(Result::is_ok));
    for frame in ear.take() {
        let len = frame.len();
        // Nobody else has a part of it.
        let held = frame.try_into_mut().map_or(usize::MAX, |own| own.capacity());
        assert!(held <= 2 * len, "{held} bytes are held for {len}");
    }
}
