//! Queues on servers: what is kept outlives the gateway.

use brokers::{Kind, Server};

use crate::support::{Process, Tcp};

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
