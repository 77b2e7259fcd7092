//! The program: its exit status, its signals, its memory.

use futures_util::future::select_all;

use crate::support::{Folder, Gateway, Process, RawWs, Tcp, Ws, request, status, within};

#[tokio::test]
async fn what_cannot_be_served_is_one_line_and_status_2() {
    for flags in [
        "--metrics everywhere",
        "--cluster carrier-pigeon://broker:4222",
        "--node a",
        "--tls-cert cert.pem",
        "--tls-key key.pem",
        "--engine gorilla",
        "--runtime async-std",
        "--frobnicate",
        "--max-message 0",
        "--token=",
        "--token-file /nowhere/token",
        "--token a --token-file b",
        "--host http://chat.example",
        "--subprotocol a(b",
        "--log loud",
    ] {
        let (status, out, err) = Process::run(flags).await;
        assert_eq!((status, out.as_str()), (Some(2), ""), "{flags}: {err}");
        assert_eq!(err.lines().count(), 1, "{flags}: {err}");
    }
}

/// Misspelt flags, unknown engines, and brokers that are not there.
#[tokio::test]
async fn no_line_repeats_a_secret() {
    let folder = Folder::new();
    folder.write("empty", b"\n");
    let empty = format!("--token-file {}", folder.path("empty").display());
    for flags in [
        "--clusterr=redis://:pa55-w0rd@h",
        "--cluster=amqp://u:pa55-w0rd@h",
        "--cluster :pa55-w0rd@h",
        "--queue rediss://u:pa55-w0rd@h:1",
        "--queue valkey:redis://:pa55-w0rd@h",
        "--tokken=pa55-w0rd",
        "--Token=pa55-w0rd",
        "--token:pa55-w0rd",
        "--echo pa55-w0rd",
        "--echo=pa55-w0rd",
        "--token-file pa55-w0rd",
        "--tls-cert pa55-w0rd --tls-key pa55-w0rd",
        "--workers pa55-w0rd",
        &empty,
        #[cfg(feature = "redis")]
        "--queue redis:redis://u:pa55-w0rd@",
        #[cfg(feature = "redis")]
        "--queue redis:redis://u:pa55-w0rd@h:port",
        #[cfg(feature = "nats")]
        "--queue nats:nats://u:pa55-w0rd@h:port",
        #[cfg(feature = "redis")]
        "--cluster redis://u:pa55-w0rd@h:port",
        #[cfg(feature = "nats")]
        "--cluster nats://u:pa55-w0rd@h:port",
    ] {
        let (status, out, err) = Process::run(&format!("--ws 127.0.0.1:0 {flags}")).await;
        assert_eq!((status, out.as_str(), err.lines().count()), (Some(2), "", 1), "{flags}: {err}");
        assert!(!err.contains("pa55-w0rd"), "{flags}: {err}");
    }
}

/// Nobody answers at these addresses.
#[cfg(any(feature = "nats", feature = "redis"))]
#[tokio::test]
async fn a_broker_that_is_away_is_one_line_without_its_password() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for scheme in [
        #[cfg(feature = "nats")]
        "nats",
        #[cfg(feature = "redis")]
        "redis",
        #[cfg(feature = "redis")]
        "rediss",
    ] {
        let url = format!("{scheme}://user:pa55-w0rd@{nobody}");
        let engine = scheme.replace("rediss", "redis");
        for flags in [format!("--cluster {url}"), format!("--queue {engine}:{url}")] {
            let (status, out, err) = Process::run(&format!("--ws 127.0.0.1:0 --log trace {flags}")).await;
            assert!(status.is_some_and(|status| status > 0) && out.is_empty(), "{flags}: {err}");
            assert!(err.contains("cannot be reached") && err.lines().count() == 1, "{flags}: {err}");
            assert!(!err.contains("pa55-w0rd"), "{flags}: {err}");
        }
    }
}

#[tokio::test]
async fn an_address_that_is_taken_is_one_line_and_status_1() {
    let gateway = Gateway::start("").await;
    let (status, out, err) = Process::run(&format!("--tcp {}", gateway.tcp())).await;
    assert_eq!((status, out.as_str(), err.lines().count()), (Some(1), "", 1), "{err}");
}

async fn drains(flags: &str, signal: &str) {
    let mut gateway = Process::start(flags).await;
    let mut ws = Ws::settled(gateway.ws(), "uid=alice").await;
    let mut tcp = Tcp::settled(gateway.tcp(), "bob").await;
    // It keeps its end open, and so the gateway waiting for it.
    let mut lingers = RawWs::login(gateway.ws(), "uid=carol").await;
    while tcp.ask("Ocarol").await != "+online carol 1" {}

    gateway.signal(signal).await;
    assert_eq!(ws.rest().await, (vec!["!bye drain".to_owned()], Some(1001)));
    assert_eq!(tcp.rest().await, ["!bye drain"]);
    assert_eq!(lingers.until_close().await, (vec!["!bye drain".to_owned()], 1001));
    assert_eq!(status(gateway.ws(), &request("/ws?uid=late", "")).await, 503);
    let refusal = Tcp::login(gateway.tcp(), "late").await.rest().await;
    assert!(refusal.len() == 1 && refusal[0].starts_with("!error "), "{refusal:?}");
    drop((ws, tcp, lingers));
    assert_eq!(gateway.ended().await, Some(0));
}

#[tokio::test]
async fn sigterm_drains() {
    drains("", "TERM").await;
}

#[tokio::test]
async fn sigint_drains_too() {
    drains("", "INT").await;
}

#[tokio::test]
async fn sighup_without_files_changes_nothing() {
    let mut gateway = Process::start("--token secret").await;
    let mut ws = Ws::settled(gateway.ws(), "uid=alice&token=secret").await;
    for _ in 0..2 {
        gateway.signal("HUP").await;
        gateway.logs("there is no file to read again").await;
        assert_eq!(ws.ask("E").await, "E");
    }
    gateway.signal("TERM").await;
    assert_eq!(ws.rest().await, (vec!["!bye drain".to_owned()], Some(1001)));
    drop(ws);
    assert_eq!(gateway.ended().await, Some(0));
}

#[tokio::test]
async fn sighup_reads_the_token_again_and_a_bad_one_keeps_the_old() {
    let folder = Folder::new();
    folder.write("token", b"first\n");
    let mut gateway = Process::start(&format!("--token-file {}", folder.path("token").display())).await;
    let login =
        async |token: &str| status(gateway.ws(), &request(&format!("/ws?uid=a&token={token}"), "")).await;
    assert_eq!((login("first").await, login("second").await), (101, 401));

    folder.write("token", b"\n");
    gateway.signal("HUP").await;
    gateway.logs("the old token stays").await;
    let login =
        async |token: &str| status(gateway.ws(), &request(&format!("/ws?uid=a&token={token}"), "")).await;
    assert_eq!((login("first").await, login("").await), (101, 401));

    folder.write("token", b"second");
    gateway.signal("HUP").await;
    let lines = gateway.logs("the token was read again").await;
    assert!(lines.iter().all(|line| !line.contains("second") && !line.contains("first")), "{lines:?}");
    let login =
        async |token: &str| status(gateway.ws(), &request(&format!("/ws?uid=a&token={token}"), "")).await;
    assert_eq!((login("first").await, login("second").await), (401, 101));
}

#[cfg(feature = "smol")]
#[tokio::test]
async fn sigterm_drains_on_smol() {
    drains("--runtime smol --engine async-tungstenite", "TERM").await;
}

#[tokio::test]
async fn a_client_that_never_leaves_does_not_hold_up_the_exit() {
    let mut gateway = Process::start("--drain-timeout 0.5").await;
    let mut silent = RawWs::login(gateway.ws(), "uid=alice").await;
    silent.send(&crate::support::frame(0x81, b"N")).await;
    assert_eq!(silent.next().await, Some((0x81, b"+users 1".to_vec())));
    gateway.signal("TERM").await;
    assert_eq!(gateway.ended().await, Some(0));
}

#[tokio::test]
async fn while_it_drains_kept_messages_are_stored_and_others_refused() {
    const SESSIONS: usize = 60;

    let mut gateway = Gateway::start("--drain-timeout 6").await;
    // So many that their closes are spread over time.
    let mut clients = Vec::new();
    for number in 0..SESSIONS {
        clients.push(Tcp::settled(gateway.tcp(), &format!("client{number}")).await);
    }
    gateway.drain();
    let (first, index, _) = select_all(clients.iter_mut().map(|client| Box::pin(client.recv()))).await;
    assert_eq!(first, "!bye drain");
    clients.remove(index);
    for client in &mut clients {
        client.send_all(["Q60|absent|hi", "Tabsent|hi"]).await;
    }
    let mut refused = 0;
    for client in &mut clients {
        let answers = client.rest().await;
        match answers.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            // Its own goodbye came first.
            ["!bye drain"] => {}
            // Of the two messages one is refused: the one that is not kept.
            [error, "!bye drain"] if error.starts_with("!error ") => refused += 1,
            _ => panic!("{answers:?}"),
        }
    }
    assert!(refused > 0, "all closes came at once");
    drop(clients);
    let report = gateway.ended().await;
    assert_eq!((report.sessions, report.forced, report.unstored), (SESSIONS, 0, 0));
}

// Memory is read from /proc.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_reader_that_never_reads_costs_little_and_nobody_else_anything() {
    const BYTES: usize = 180 * 1000 * 1000;
    const MESSAGE: usize = 60 * 1000;
    const MOST_KIB: u64 = 64 * 1024;

    let gateway = Process::start("").await;
    let (mut kept, mut unkept) = (Tcp::connect(gateway.tcp()).await, Tcp::connect(gateway.tcp()).await);
    kept.shrink();
    unkept.shrink();
    kept.send("uid=kept&confirm=1").await;
    kept.settle().await;
    unkept.send("uid=unkept").await;
    unkept.settle().await;
    let mut carol = Ws::settled(gateway.ws(), "uid=carol").await;
    let alice = Tcp::settled(gateway.tcp(), "alice").await;
    let (_, before) = gateway.memory();

    let padding = "x".repeat(MESSAGE);
    let (mut answers, mut alice) = alice.split();
    let sending = async {
        for number in 0..BYTES / MESSAGE {
            let to = if number % 2 == 0 { "Q60|kept" } else { "Tunkept" };
            alice.send(format!("{to}|{padding}")).await;
            if number % 500 == 0 {
                assert_eq!(carol.ask("E").await, "E");
            }
        }
        alice.send("Oend").await;
    };
    let (mut refused, mut offline) = (0, 0);
    let reading = async {
        loop {
            match answers.recv().await.as_str() {
                "!offline unkept" => offline += 1,
                "+online end 0" => break,
                error if error.starts_with("!error ") => refused += 1,
                other => panic!("{other}"),
            }
        }
    };
    tokio::join!(sending, reading);
    assert_eq!(carol.ask("E").await, "E");
    assert!(refused > 0 && offline > 0, "it was not too much: {refused} {offline}");
    let (most, _) = gateway.memory();
    assert!(most - before < MOST_KIB, "{} KiB", most - before);
}

// Memory is read from /proc.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn memory_of_a_burst_of_kept_messages_goes_back_to_the_system() {
    const USERS: usize = 20;
    const MESSAGES: usize = 1000;
    const MOST_LEFT_KIB: u64 = 12 * 1024;

    let gateway = Process::start("").await;
    let mut alice = Tcp::settled(gateway.tcp(), "alice").await;
    let (_, before) = gateway.memory();
    for user in 0..USERS {
        let message = |number| format!("Q600|user{user}|{}", "x".repeat(1000 + number % 1000));
        alice.send_all((0..MESSAGES).map(message)).await;
        assert_eq!(alice.ask("E").await, "E", "no send failed");
    }
    let (_, full) = gateway.memory();
    assert!(full > before + 2 * MOST_LEFT_KIB, "{} KiB is no burst", full - before);
    for user in 0..USERS {
        let mut reader = Tcp::login(gateway.tcp(), &format!("uid=user{user}&confirm=1")).await;
        for _ in 0..MESSAGES {
            reader.recv().await;
        }
        // One question is open at a time: the last one comes before the second echo at the latest.
        assert_eq!((reader.ask("E").await, reader.ask("E").await), ("E".to_owned(), "E".to_owned()));
    }
    let goes_back = async {
        while gateway.memory().1 > before + MOST_LEFT_KIB {
            assert_eq!(alice.ask("E").await, "E");
        }
    };
    within("the memory", goes_back).await;
}
