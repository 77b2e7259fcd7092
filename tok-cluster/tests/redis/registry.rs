//! The table on the server: what it holds, what it leaves, and how it comes back.

use std::collections::BTreeSet;

use brokers::{Proxy, RedisServer};
use futures_util::future::join_all;
use tok_cluster::{Cursor, RedisBroker, Registry, RegistryError, SessionRow};
use tok_core::{Epoch, Uid};

use crate::support::{
    PATIENCE, SERVER, SHORT, ask, broker, builder, claim, keys, node, prefix, soon, until, until_ok,
};

#[tokio::test]
async fn a_session_that_ended_leaves_no_key() {
    let server = RedisServer::start().unwrap();
    let broker = RedisBroker::builder(server.url()).timeout(PATIENCE).connect().await.unwrap();
    let (registry, me) = (broker.registry(), node("a"));
    assert_eq!(keys(&server).await, [""; 0], "connecting changes nothing");
    registry.beat(&me, PATIENCE).await.unwrap();
    let claimed = registry.claim(&claim("al.ice", Some("")), &me).await.unwrap();
    assert_eq!(
        keys(&server).await,
        [
            "{tok}:epoch",
            "{tok}:leases",
            "{tok}:node:a-0000000000000001",
            "{tok}:user:al_2eice",
            "{tok}:users"
        ]
    );
    assert!(registry.release(&"al.ice".into(), claimed.epoch).await.unwrap());
    assert_eq!(keys(&server).await, ["{tok}:epoch", "{tok}:leases"]);
    // Another run of the node ends with its sessions in place.
    for n in 0..10 {
        registry.claim(&claim(&format!("user {n}"), None), &me).await.unwrap();
    }
    registry.leave(&me).await.unwrap();
    while registry.reap(&me, 3).await.unwrap() {}
    assert_eq!(keys(&server).await, ["{tok}:epoch"]);
}

/// Whatever is lost with all keys, epochs go on where they were, and rows come back.
#[tokio::test]
async fn a_table_that_was_lost_comes_back_and_epochs_rise() {
    let server = RedisServer::start().unwrap();
    let broker = RedisBroker::builder(server.url()).timeout(PATIENCE).connect().await.unwrap();
    let (registry, me, uid) = (broker.registry(), node("a"), Uid::from("alice"));
    let mut last = Epoch::default();
    for _ in 0..5 {
        registry.beat(&me, PATIENCE).await.unwrap();
        let epoch = registry.claim(&claim("alice", Some("")), &me).await.unwrap().epoch;
        assert!(epoch > last, "{epoch:?} after {last:?}");
        let rows = registry.lookup(&uid).await.unwrap();
        let () = ask(&server, "FLUSHALL").await;
        // Scripts are loaded again where they are gone.
        let () = ask(&server, "SCRIPT FLUSH").await;
        assert!(!registry.beat(&me, PATIENCE).await.unwrap(), "the node learns that its lease is gone");
        assert_eq!(registry.lookup(&uid).await.unwrap(), []);
        assert!(registry.restore(&rows[0]).await.unwrap().added);
        assert_eq!(registry.lookup(&uid).await.unwrap(), rows);
        last = epoch;
    }
    // As after a failover that lost the last moments: what the nodes still have counts.
    let ahead = Epoch::new(last.get() + 1_000_000_000);
    let () = ask(&server, "FLUSHALL").await;
    registry.restore(&SessionRow { uid, node: me.clone(), class: None, epoch: ahead }).await.unwrap();
    assert!(registry.claim(&claim("alice", None), &me).await.unwrap().epoch > ahead);
}

#[tokio::test]
async fn any_epoch_is_answered() {
    let (registry, me, uid) = (broker().await.registry(), node("a"), Uid::from("alice"));
    for epoch in [(1 << 52) + 1, 1 << 53, u64::MAX].map(Epoch::new) {
        let row = SessionRow { uid: uid.clone(), node: me.clone(), class: None, epoch };
        assert!(matches!(registry.restore(&row).await, Err(RegistryError::Unavailable(_))), "{epoch:?}");
        assert!(!registry.release(&uid, epoch).await.unwrap());
    }
    let first = registry.claim(&claim("alice", None), &me).await.unwrap().epoch;
    let row = SessionRow { uid: uid.clone(), node: me.clone(), class: None, epoch: Epoch::new(1 << 52) };
    assert!(registry.restore(&row).await.unwrap().added);
    let mut last = row.epoch;
    for _ in 0..5 {
        let epoch = registry.claim(&claim("alice", None), &me).await.unwrap().epoch;
        assert!(epoch > last, "{epoch:?} after {last:?}");
        last = epoch;
    }
    assert!(registry.release(&uid, row.epoch).await.unwrap() && registry.release(&uid, first).await.unwrap());
    assert_eq!(registry.page(Cursor::new(u64::MAX), 10).await.unwrap().rows, []);
}

/// A uid or class is never taken for another, for a key or for a part of one.
#[tokio::test]
async fn odd_names_forge_nothing() {
    let (broker, me) = (broker().await, node("a"));
    let registry = broker.registry();
    let mut odd: Vec<String> = [
        "{tag}",
        "}",
        "a:b",
        "a",
        ":",
        "users",
        "node:a-0000000000000001",
        "*",
        "[a]",
        "?",
        " ",
        "\r\n",
        "$5\r\nhello",
        "\0",
        "_",
        "__",
        "_3a",
        "a_3ab",
        "\u{e9}",
        "\u{1f980}",
    ]
    .map(str::to_owned)
    .to_vec();
    odd.push("\u{1f980}".repeat(63));
    odd.push("x".repeat(Uid::MAX_BYTES));
    for uid in &odd {
        for class in &odd {
            registry.claim(&claim(uid, Some(class)), &me).await.unwrap();
        }
        registry.claim(&claim(uid, None), &me).await.unwrap();
    }
    assert_eq!(registry.users().await.unwrap(), odd.len() as u64);
    let expected: BTreeSet<_> = odd.iter().map(|name| Some(name.clone())).chain([None]).collect();
    for uid in &odd {
        let rows = registry.lookup(&uid.as_str().into()).await.unwrap();
        assert_eq!(rows.len(), odd.len() + 1, "{uid:?}");
        assert!(rows.iter().all(|row| row.uid.as_str() == uid && row.node == me));
        assert_eq!(rows.into_iter().map(|row| row.class).collect::<BTreeSet<_>>(), expected);
    }
    registry.leave(&me).await.unwrap();
    while registry.reap(&me, 100).await.unwrap() {}
    assert_eq!(registry.users().await.unwrap(), 0);
}

#[tokio::test]
async fn clusters_with_other_names_or_databases_do_not_meet() {
    let name = prefix();
    let url = SERVER.url();
    let connect = async |url: String, name: &str| {
        RedisBroker::builder(url).prefix(name).timeout(PATIENCE).connect().await.unwrap().registry()
    };
    let first = connect(url.clone(), &name).await;
    first.claim(&claim("alice", None), &node("a")).await.unwrap();
    first.beat(&node("a"), PATIENCE).await.unwrap();
    for other in [connect(url.clone(), &prefix()).await, connect(format!("{url}/1"), &name).await] {
        assert_eq!(other.lookup(&"alice".into()).await.unwrap(), []);
        assert_eq!((other.users().await.unwrap(), other.nodes().await.unwrap().len()), (0, 0));
    }
    assert_eq!(connect(url, &name).await.users().await.unwrap(), 1);
}

/// Rows of a node that has no lease are somebody's to remove.
#[tokio::test]
async fn who_has_rows_is_listed() {
    let (registry, me) = (broker().await.registry(), node("a"));
    registry.claim(&claim("alice", None), &me).await.unwrap();
    let nodes = registry.nodes().await.unwrap();
    assert!(nodes.len() == 1 && nodes[0].node == me && nodes[0].left.is_zero(), "{nodes:?}");
    assert!(!registry.reap(&me, 10).await.unwrap());
    assert_eq!((registry.nodes().await.unwrap().len(), registry.users().await.unwrap()), (0, 0));
}

#[tokio::test]
async fn a_server_without_memory_takes_no_claims_and_keeps_leases() {
    let server = RedisServer::start().unwrap();
    let broker = RedisBroker::builder(server.url()).timeout(PATIENCE).connect().await.unwrap();
    let (registry, me, uid) = (broker.registry(), node("a"), Uid::from("alice"));
    registry.beat(&me, PATIENCE).await.unwrap();
    let epoch = registry.claim(&claim("alice", None), &me).await.unwrap().epoch;
    let () = ask(&server, "CONFIG SET maxmemory 1").await;
    let refused = registry.claim(&claim("bob", None), &me).await;
    assert!(matches!(refused, Err(RegistryError::Unavailable(_))), "{refused:?}");
    assert!(registry.beat(&me, PATIENCE).await.unwrap());
    assert_eq!(registry.lookup(&uid).await.unwrap().len(), 1);
    assert!(registry.release(&uid, epoch).await.unwrap());
    let () = ask(&server, "CONFIG SET maxmemory 0").await;
    registry.claim(&claim("bob", None), &me).await.unwrap();
}

#[tokio::test]
async fn a_silent_server_is_unavailable_and_what_it_was_asked_does_not_happen_later() {
    let server = RedisServer::start().unwrap();
    let broker =
        until_ok("connect", async || RedisBroker::builder(server.url()).timeout(SHORT).connect().await).await;
    let (registry, me, uid) = (broker.registry(), node("a"), Uid::from("alice"));
    let first = until_ok("claim", async || registry.claim(&claim("alice", None), &me).await).await;
    let rows = until_ok("lookup", async || registry.lookup(&uid).await).await;
    server.suspend().unwrap();
    let lost = SessionRow { epoch: Epoch::new(first.epoch.get() + 1), ..rows[0].clone() };
    for _ in 0..3 {
        let claimed = soon("a silent server", registry.claim(&claim("alice", None), &me)).await;
        assert!(matches!(claimed, Err(RegistryError::Unavailable(_))), "{claimed:?}");
        let restored = soon("a silent server", registry.restore(&lost)).await;
        assert!(matches!(restored, Err(RegistryError::Unavailable(_))), "{restored:?}");
    }
    server.resume().unwrap();
    // Whatever came in the meantime has been read when all connections have been answered.
    for _ in 0..20 {
        assert_eq!(until_ok("lookup", async || registry.lookup(&uid).await).await.len(), rows.len());
    }
}

/// The callers of a registry bound its time: they drop what takes too long.
#[tokio::test]
async fn a_connection_that_died_in_silence_is_replaced_also_if_nobody_waits_to_the_end() {
    let proxy = Proxy::start(SERVER.addr()).unwrap();
    let url = format!("redis://{}", proxy.addr());
    let builder = RedisBroker::builder(url).prefix(prefix()).timeout(2 * SHORT);
    let registry = until_ok("connect", async || builder.clone().connect().await).await.registry();
    until_ok("users", async || registry.users().await).await;
    proxy.lose();
    let dropped = tokio::time::timeout(SHORT + SHORT / 2, registry.users()).await;
    assert!(!matches!(dropped, Ok(Ok(_))), "{dropped:?}");
    until_ok("users", async || registry.users().await).await;
}

#[tokio::test]
async fn a_server_that_was_killed_comes_back_with_and_without_its_data() {
    let mut server = RedisServer::synced().unwrap();
    let broker = RedisBroker::builder(server.url()).timeout(PATIENCE).connect().await.unwrap();
    let (registry, me) = (broker.registry(), node("a"));
    registry.beat(&me, PATIENCE).await.unwrap();
    let mut last = registry.claim(&claim("alice", Some("")), &me).await.unwrap().epoch;
    for wiped in [false, true] {
        if wiped {
            server.wipe().unwrap();
        }
        server.kill().unwrap();
        let looked = soon("no server", registry.lookup(&"alice".into())).await;
        assert!(matches!(looked, Err(RegistryError::Unavailable(_))), "{looked:?}");
        server.restart().unwrap();
        let had = until_ok("beat", async || registry.beat(&me, PATIENCE).await).await;
        assert_eq!(had, !wiped);
        assert_eq!(registry.lookup(&"alice".into()).await.unwrap().len(), usize::from(!wiped));
        let epoch = registry.claim(&claim("alice", Some("")), &me).await.unwrap().epoch;
        assert!(epoch > last, "{epoch:?} after {last:?}");
        last = epoch;
    }
}

#[tokio::test]
async fn nodes_that_claim_and_reap_at_once_leave_what_is_true() {
    let (broker, dead, alive) = (broker().await, node("dead"), node("alive"));
    let registry = broker.registry();
    registry.beat(&alive, PATIENCE).await.unwrap();
    let users: Vec<String> = (0..200).map(|n| format!("user {n}")).collect();
    for user in &users {
        registry.claim(&claim(user, None), &dead).await.unwrap();
    }
    let others: Vec<_> = (0..4).map(|_| broker.registry()).collect();
    let reaping = others.iter().map(async |registry| while registry.reap(&dead, 7).await.unwrap() {});
    let claiming = users.iter().map(|user| {
        let claim = claim(user, Some(""));
        let (registry, alive) = (&registry, &alive);
        async move { registry.claim(&claim, alive).await.unwrap().epoch }
    });
    let (_, epochs) = futures_util::future::join(join_all(reaping), join_all(claiming)).await;
    until("all of the dead node is gone", async || !registry.reap(&dead, 100).await.unwrap()).await;
    for (user, epoch) in users.iter().zip(epochs) {
        let rows = registry.lookup(&user.as_str().into()).await.unwrap();
        assert_eq!(rows.iter().map(|row| row.epoch).collect::<Vec<_>>(), [epoch], "{user}");
    }
    assert_eq!(registry.users().await.unwrap(), 200);
}

#[tokio::test]
async fn more_operations_than_were_set_are_refused() {
    let registry = builder().max_in_flight(1).connect().await.unwrap().registry();
    let (first, second) = futures_util::future::join(registry.users(), registry.users()).await;
    assert_eq!(first.unwrap(), 0);
    assert!(matches!(second, Err(RegistryError::Overloaded)), "{second:?}");
    registry.users().await.unwrap();
}
