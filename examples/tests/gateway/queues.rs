//! Queues on servers: what is kept outlives the gateway.

use brokers::{Kind, Server};
use tokio::{
    sync::watch,
    task::{self, block_in_place},
};

use crate::support::{Portion, Process, Seen, Sent, Tcp, get, sample, within};

const MESSAGES: usize = 200;

/// `--queue` with this server.
fn flag<K: Kind>(server: &Server<K>) -> String {
    format!("--queue {}:{}", K::SCHEME, server.url())
}

async fn outlives_a_gateway_that_is_killed<K: Kind>() {
    let server = Server::<K>::start().unwrap();
    let gateway = Process::start(&flag(&server)).await;
    let mut alice = Tcp::login(gateway.tcp(), "alice").await;
    alice.send_all((0..MESSAGES).map(|number| format!("Q600|bob|{number}"))).await;
    assert_eq!(alice.ask("E").await, "E", "no send failed");
    gateway.signal("KILL").await;

    let mut gateway = Process::start(&flag(&server)).await;
    let mut bob = Tcp::login(gateway.tcp(), "uid=bob&confirm=1").await;
    for number in 0..MESSAGES {
        assert_eq!(bob.recv().await, format!("Q600|bob|{number}"));
    }
    // What a client confirmed does not come again: with its answer to this the queue is empty.
    assert_eq!(bob.ask("E").await, "E");
    gateway.signal("TERM").await;
    assert_eq!(gateway.ended().await, Some(0));
}

async fn is_an_error_while_its_server_is_away<K: Kind>() {
    let mut server = Server::<K>::start().unwrap();
    let gateway = Process::start(&flag(&server)).await;
    let mut alice = Tcp::login(gateway.tcp(), "alice").await;
    alice.send("Q600|bob|first").await;
    assert_eq!(alice.ask("E").await, "E");
    server.kill().unwrap();
    let answer = alice.ask("Q600|bob|refused").await;
    assert!(answer.starts_with("!error "), "{answer}");
    assert_eq!(alice.ask("E").await, "E", "the rest goes on");

    let (status, out, err) = Process::run(&format!("--ws 127.0.0.1:0 {}", flag(&server))).await;
    assert_eq!((status, out.as_str()), (Some(1), ""), "{err}");
    assert!(err.lines().count() == 1 && err.contains("cannot be reached"), "{err}");
}

/// While what is stored for a user cannot be read, a transient message is an error for its sender, and does not come later.
async fn keeps_transient_messages_from_overtaking_what_it_cannot_read<K: Kind>() {
    let server = Server::<K>::start().unwrap();
    let gateway = Process::start(&flag(&server)).await;
    let mut alice = Tcp::login(gateway.tcp(), "alice").await;
    alice.send("Q600|bob|stored").await;
    assert_eq!(alice.ask("E").await, "E");
    server.suspend().unwrap();
    let mut bob = Tcp::settled(gateway.tcp(), "uid=bob&confirm=1").await;
    let answer = alice.ask("Tbob|refused").await;
    assert!(answer.starts_with("!error "), "{answer}");
    let answer = bob.ask("Erefused").await;
    assert!(answer.starts_with("!error "), "{answer}");
    server.resume().unwrap();
    assert_eq!(bob.recv().await, "Q600|bob|stored");
    alice.send("Tbob|after").await;
    assert_eq!(bob.recv().await, "Tbob|after");
}

/// Waits until a count has grown by so many.
async fn grows(what: &str, count: &watch::Sender<usize>, by: usize) {
    let mut count = count.subscribe();
    let goal = *count.borrow() + by;
    within(what, count.wait_for(|count| *count >= goal)).await.unwrap();
}

/// The server answers when what it was given is on disk. It is killed and comes back, again and again, while messages
/// flow: a send is an error or its message is kept, and what was answered for comes.
async fn loses_nothing_when_its_server_is_killed<K: Kind>() {
    const KILLS: usize = 3;

    let mut server = Server::<K>::synced().unwrap();
    let gateway = Process::start(&format!("{} --max-queued 100000", flag(&server))).await;
    let addr = gateway.tcp();
    let (answered, refused, stop) = (watch::Sender::new(0), watch::Sender::new(0), watch::Sender::new(false));
    let sending = task::spawn({
        let (answered, refused, stop) = (answered.clone(), refused.clone(), stop.subscribe());
        async move {
            let mut alice = Tcp::login(addr, "alice").await;
            let mut sent = Sent::default();
            while !*stop.borrow() {
                match sent.send(&mut alice, "bob", 3).await {
                    Portion::Answered => answered.send_modify(|count| *count += 1),
                    Portion::Refused => refused.send_modify(|count| *count += 1),
                    Portion::Open => panic!("the gateway went away"),
                }
            }
            sent
        }
    });
    let receiving = task::spawn({
        let mut stop = stop.subscribe();
        async move {
            let (mut seen, mut sessions) = (Seen::default(), 0);
            while !*stop.borrow() {
                let mut bob = Tcp::login(addr, "uid=bob&confirm=1").await;
                let before = seen.all.len();
                tokio::select! {
                    () = seen.read(&mut bob, |seen| seen.all.len() > before + 20) => {}
                    _ = stop.changed() => {}
                }
                sessions += 1;
                bob.vanish();
            }
            (seen, sessions)
        }
    });
    for _ in 0..KILLS {
        grows("answers while the server is there", &answered, 10).await;
        block_in_place(|| server.kill()).unwrap();
        grows("errors while it is away", &refused, 3).await;
        block_in_place(|| server.restart()).unwrap();
    }
    grows("answers when it is back", &answered, 10).await;
    stop.send_replace(true);
    let sent = within("the sender", sending).await.unwrap();
    let (mut seen, sessions) = within("the receiver", receiving).await.unwrap();
    let mut bob = Tcp::login(addr, "uid=bob&confirm=1").await;
    seen.read_all_of(&mut bob, &sent).await;
    assert!(sessions > KILLS, "{sessions} sessions");
}

/// `/healthz` follows the queue's server, whether clients notice that it is away or nobody does; `/livez` does not.
async fn is_unhealthy_while_its_server_is_away<K: Kind>() {
    let mut server = Server::<K>::start().unwrap();
    let mut gateway = Process::start(&format!("{} --metrics 127.0.0.1:0", flag(&server))).await;
    let metrics = gateway.metrics();
    let becomes = async |expected: (u16, &str)| {
        let is_so =
            async { while get(metrics, "/healthz").await != (expected.0, format!("{}\n", expected.1)) {} };
        within(expected.1, is_so).await;
        assert_eq!(get(metrics, "/livez").await.0, 200);
    };
    becomes((200, "ok")).await;
    server.kill().unwrap();
    becomes((503, "the queue fails")).await;
    let lines = gateway.logs("the queue fails").await;
    assert!(lines.iter().all(|line| !line.contains("secret")), "{lines:?}");
    assert_eq!(sample(&get(metrics, "/metrics").await.1, "tok_queue_healthy"), 0);

    server.restart().unwrap();
    becomes((200, "ok")).await;
    gateway.logs("the queue works again").await;
    let mut alice = Tcp::login(gateway.tcp(), "alice").await;
    alice.send("Q600|bob|kept").await;
    assert_eq!(alice.ask("E").await, "E");

    // One that hangs is no better than one that is gone.
    server.suspend().unwrap();
    becomes((503, "the queue fails")).await;
    server.resume().unwrap();
    becomes((200, "ok")).await;
}

async fn needs_a_url<K: Kind>() {
    let (status, out, err) =
        Process::run(&format!("--ws 127.0.0.1:0 --queue {}:http://u:secret@a", K::SCHEME)).await;
    assert_eq!((status, out.as_str()), (Some(2), ""), "{err}");
    assert!(err.lines().count() == 1 && !err.contains("secret"), "{err}");
}

macro_rules! engine {
    ($name:ident, $kind:ty) => {
        mod $name {
            #[tokio::test]
            async fn what_is_kept_outlives_a_gateway_that_is_killed() {
                super::outlives_a_gateway_that_is_killed::<$kind>().await;
            }

            #[tokio::test]
            async fn a_send_is_an_error_while_the_server_is_away() {
                super::is_an_error_while_its_server_is_away::<$kind>().await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn nothing_answered_for_is_lost_when_the_server_is_killed_while_messages_flow() {
                super::loses_nothing_when_its_server_is_killed::<$kind>().await;
            }

            #[tokio::test]
            async fn transient_messages_do_not_overtake_what_cannot_be_read() {
                super::keeps_transient_messages_from_overtaking_what_it_cannot_read::<$kind>().await;
            }

            #[tokio::test]
            async fn health_follows_the_server_of_the_queue() {
                super::is_unhealthy_while_its_server_is_away::<$kind>().await;
            }

            #[tokio::test]
            async fn a_target_that_is_no_url_is_one_line_and_status_2() {
                super::needs_a_url::<$kind>().await;
            }
        }
    };
}

#[cfg(feature = "nats")]
engine!(nats, brokers::Nats);
#[cfg(feature = "redis")]
engine!(redis, brokers::Redis);

/// NATS refuses a payload over its `max_payload`, 1 MiB by default.
#[cfg(feature = "nats")]
#[tokio::test]
async fn a_max_message_that_the_broker_cannot_carry_is_one_line_with_both_numbers() {
    let server = Server::<brokers::Nats>::start().unwrap();
    for broker in [flag(&server), format!("--cluster {}", server.url())] {
        let (status, out, err) =
            Process::run(&format!("--ws 127.0.0.1:0 --max-message 2000000 {broker}")).await;
        assert_eq!((status, out.as_str(), err.lines().count()), (Some(2), "", 1), "{broker}: {err}");
        let numbers: Vec<usize> =
            err.split(|char: char| !char.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect();
        let limit = numbers.iter().find(|number| (1_000_000..=1 << 20).contains(*number));
        assert!(numbers.contains(&2_000_000) && limit.is_some(), "{broker}: {err}");
        // The default is lowered instead.
        let mut gateway = Process::start(&broker).await;
        gateway.signal("TERM").await;
        assert_eq!(gateway.ended().await, Some(0));
    }
}
