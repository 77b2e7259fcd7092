//! A table that is lost, in whole or in part, while nodes use it.

use brokers::NatsServer;
use tok_cluster::{Cursor, NatsBroker, NatsRegistry, Registry};
use tok_core::{Epoch, Uid};

use super::{
    SERVER, builder,
    support::{LONG, claim, node, prefix, rows, soon, until_ok},
};

async fn api(api: &str, asked: &'static str) {
    let client = async_nats::connect(SERVER.url()).await.unwrap();
    let answer = client.request(format!("$JS.API.{api}"), asked.into()).await.unwrap();
    let text = String::from_utf8_lossy(&answer.payload);
    assert!(text.contains(r#""success":true"#), "{api}: {text}");
}

/// What a node does at its next beat.
async fn put_back(registry: &NatsRegistry, uid: &str, at: &str, epoch: Epoch) {
    assert!(!registry.beat(&node(at), LONG).await.unwrap(), "the lease is lost too, and it is told");
    let (uid, node) = (Uid::from(uid), node(at));
    let row = tok_cluster::SessionRow { uid, node, class: Some(String::new()), epoch };
    assert!(registry.restore(&row).await.unwrap().added);
}

#[tokio::test]
async fn a_stream_that_is_deleted_is_made_again_and_epochs_go_on_rising() {
    let name = prefix();
    let broker = || NatsBroker::builder(SERVER.url()).prefix(&name).connect();
    let (first, second) = (broker().await.unwrap().registry(), broker().await.unwrap().registry());
    let mut last = Epoch::default();
    for round in 0..10 {
        first.beat(&node("a"), LONG).await.unwrap();
        let before = claim(&first, "alice", "a").await.unwrap().epoch;
        assert!(before > last, "round {round}: {before:?} follows {last:?}");
        api(&format!("STREAM.DELETE.{name}_registry"), "").await;
        // Whichever operation is the next one.
        match round % 5 {
            0 => assert_eq!(rows(&second, "alice").await, []),
            1 => assert_eq!(second.nodes().await.unwrap(), []),
            2 => assert_eq!(second.users().await.unwrap(), 0),
            3 => assert_eq!(second.page(Cursor::START, 10).await.unwrap().rows, []),
            _ => assert!(!second.release(&Uid::from("alice"), before).await.unwrap()),
        }
        let after = claim(&second, "alice", "b").await.unwrap();
        assert!(after.epoch > before, "round {round}: {after:?} follows {before:?}");
        put_back(&first, "alice", "a", before).await;
        let epochs: Vec<_> = rows(&second, "alice").await.iter().map(|row| row.epoch).collect();
        assert_eq!(epochs, [after.epoch, before]);
        last = after.epoch;
    }
}

/// Many find out at the same time, each in the middle of something.
#[tokio::test]
async fn of_simultaneous_claims_on_a_lost_stream_each_has_a_place() {
    let name = prefix();
    let broker = NatsBroker::builder(SERVER.url()).prefix(&name).connect().await.unwrap();
    let registry = broker.registry();
    let mut last = Epoch::default();
    for _ in 0..5 {
        let names: Vec<_> = (0..32).map(|n| format!("n{n}")).collect();
        let claims = names.iter().map(|name| claim(&registry, "alice", name));
        let claims = soon("32 claims", futures_util::future::join_all(claims)).await;
        let mut epochs: Vec<_> = claims.into_iter().map(|claimed| claimed.unwrap().epoch).collect();
        epochs.sort_unstable();
        assert!(epochs[0] > last, "{epochs:?} follow {last:?}");
        assert!(epochs.is_sorted_by(|a, b| a < b), "{epochs:?}");
        last = epochs[31];
        api(&format!("STREAM.DELETE.{name}_registry"), "").await;
    }
}

/// As after a power failure of a server whose files had not reached the disk: the stream is there, and what came last
/// is not.
#[tokio::test]
async fn where_the_newest_part_was_lost_epochs_rise_above_it() {
    let mut server = NatsServer::start().unwrap();
    let broker = NatsBroker::builder(server.url()).connect().await.unwrap();
    let registry = broker.registry();
    registry.beat(&node("a"), LONG).await.unwrap();
    claim(&registry, "bob", "a").await.unwrap();
    server.stop().unwrap();
    let (data, saved) = (server.data_dir(), server.data_dir().with_extension("saved"));
    copy(&data, &saved);
    server.restart().unwrap();
    let mut newest = Epoch::default();
    until_ok("the server is back", async || claim(&registry, "alice", "a").await).await;
    for _ in 0..50 {
        newest = claim(&registry, "alice", "a").await.unwrap().epoch;
    }
    server.kill().unwrap();
    std::fs::remove_dir_all(&data).unwrap();
    std::fs::rename(&saved, &data).unwrap();
    server.restart().unwrap();
    let next = until_ok("the server is back", async || claim(&registry, "alice", "b").await).await;
    assert!(next.epoch > newest, "{next:?} follows {newest:?}");
    put_back(&registry, "alice", "a", newest).await;
    assert_eq!(rows(&registry, "alice").await.len(), 2);
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[tokio::test]
async fn a_server_that_was_wiped_is_filled_again() {
    let mut server = NatsServer::start().unwrap();
    let broker = NatsBroker::builder(server.url()).connect().await.unwrap();
    let registry = broker.registry();
    registry.beat(&node("a"), LONG).await.unwrap();
    let before = claim(&registry, "alice", "a").await.unwrap().epoch;
    server.wipe().unwrap();
    server.restart().unwrap();
    let users = until_ok("the server is back", async || registry.users().await).await;
    assert_eq!(users, 0);
    put_back(&registry, "alice", "a", before).await;
    let after = claim(&registry, "alice", "b").await.unwrap();
    assert!(after.epoch > before);
    assert_eq!(after.others.len(), 1);
}

/// A table that is there survives its server's end.
#[tokio::test]
async fn a_server_that_was_killed_has_its_rows() {
    let mut server = NatsServer::start().unwrap();
    let broker = NatsBroker::builder(server.url()).connect().await.unwrap();
    let registry = broker.registry();
    registry.beat(&node("a"), LONG).await.unwrap();
    let before = claim(&registry, "alice", "a").await.unwrap().epoch;
    server.restart().unwrap();
    let held = until_ok("the server is back", async || registry.beat(&node("a"), LONG).await).await;
    assert!(held);
    assert_eq!(rows(&registry, "alice").await[0].epoch, before);
    assert!(claim(&registry, "alice", "a").await.unwrap().epoch > before);
}

/// Whatever is in a uid: each has its row, and none is another's subject or a pattern.
#[tokio::test]
async fn odd_uids_do_not_collide() {
    let registry = builder().connect().await.unwrap().registry();
    let long = ["x".repeat(255), "\u{1f980}".repeat(63) + "xyz", "*".repeat(255)];
    let mut odd = vec![
        "a", "A", "a.b", "a_2eb", "a_b", "*", ">", "a.*", "a.>", " ", "a b", "a\tb", "\r\n", "\0", "$JS.API",
        "Zo\u{eb}",
    ];
    odd.extend(long.iter().map(String::as_str));
    for uid in &odd {
        claim(&registry, uid, "a").await.unwrap();
    }
    assert_eq!(registry.users().await.unwrap(), odd.len() as u64);
    for uid in &odd {
        let found = rows(&registry, uid).await;
        assert_eq!(found.len(), 1, "{uid:?}");
        assert_eq!(found[0].uid.as_str(), *uid);
    }
    for uid in ["", &"x".repeat(256)] {
        assert!(claim(&registry, uid, "a").await.is_err());
        assert!(registry.lookup(&Uid::from(uid)).await.is_err());
    }
}

/// Of a user without sessions, and of a node that was reaped, the server has nothing.
#[tokio::test]
async fn nothing_is_left_of_who_is_gone() {
    let name = prefix();
    let broker = NatsBroker::builder(SERVER.url()).prefix(&name).connect().await.unwrap();
    let registry = broker.registry();
    registry.beat(&node("a"), LONG).await.unwrap();
    for n in 0..20 {
        let uid = n.to_string();
        let epoch = claim(&registry, &uid, "a").await.unwrap().epoch;
        if n % 2 == 0 {
            assert!(registry.release(&Uid::from(uid), epoch).await.unwrap());
        }
    }
    registry.leave(&node("a")).await.unwrap();
    while registry.reap(&node("a"), 3).await.unwrap() {}
    let client = async_nats::connect(SERVER.url()).await.unwrap();
    super::support::until("the server has removed all", async || {
        let info = client.request(format!("$JS.API.STREAM.INFO.{name}_registry"), "".into()).await.unwrap();
        String::from_utf8_lossy(&info.payload).contains(r#""messages":0,"#)
    })
    .await;
}
