//! What each operation does, and what is answered when it cannot.

use tokio_tungstenite::tungstenite::Message;

use crate::support::{Gateway, Tcp, Ws};

#[tokio::test]
async fn an_echo_comes_to_every_session_of_the_user() {
    let gateway = Gateway::start("--sso off").await;
    let mut ws = Ws::settled(gateway.ws(), "uid=bob").await;
    let mut tcp = Tcp::settled(gateway.tcp(), "bob").await;
    let mut other = Tcp::settled(gateway.tcp(), "alice").await;
    assert_eq!(tcp.ask("E to both").await, "E to both");
    assert_eq!(ws.recv().await, "E to both");
    assert_eq!(other.ask("E own").await, "E own", "nobody else has it");
}

#[tokio::test]
async fn a_message_to_a_user_who_is_away_is_answered() {
    let gateway = Gateway::start("").await;
    let mut alice = Ws::settled(gateway.ws(), "uid=alice").await;
    assert_eq!(alice.ask("Tbob|hi").await, "!offline bob");
    let mut bob = Tcp::settled(gateway.tcp(), "bob").await;
    alice.send("Tbob|hi|there").await;
    assert_eq!(bob.recv().await, "Tbob|hi|there");
    alice.send("Tbob|").await;
    assert_eq!(bob.recv().await, "Tbob|");
}

#[tokio::test]
async fn a_message_that_cannot_be_understood_is_an_error_and_the_connection_lives_on() {
    let gateway = Gateway::start("").await;
    let mut ws = Ws::settled(gateway.ws(), "uid=alice").await;
    let mut tcp = Tcp::settled(gateway.tcp(), "bob").await;
    for message in [
        "",
        "x",
        "hello",
        "Nx",
        "T",
        "Tbob",
        "T|hi",
        "Q",
        "Q5",
        "Q5|bob",
        "Q5||hi",
        "Q0|bob|hi",
        "Q-1|bob|hi",
        "Q+1|bob|hi",
        "Q1.5|bob|hi",
        "Q4294967296|bob|hi",
        "Qx|bob|hi",
        "J",
        "L",
        "R",
        "Rroom",
        "R|hi",
        "K",
        "O",
    ] {
        let answer = ws.ask(message).await;
        assert!(answer.starts_with("!error ") && !answer.contains('\n'), "{message:?}: {answer}");
        assert_eq!(tcp.ask(message).await, answer, "{message:?}");
    }
    let long = "x".repeat(256);
    for message in [format!("T{long}|hi"), format!("J{long}"), format!("K{long}"), format!("Q1|{long}|hi")] {
        assert!(ws.ask(&message).await.starts_with("!error "), "{message}");
    }
    assert_eq!(ws.ask("E").await, "E");
    assert_eq!(tcp.ask("E").await, "E");
}

#[tokio::test]
async fn a_kept_message_may_have_the_longest_ttl() {
    let gateway = Gateway::start("").await;
    let mut alice = Ws::settled(gateway.ws(), "uid=alice").await;
    alice.send("Q4294967295|bob|hi").await;
    assert_eq!(alice.ask("E").await, "E", "no error");
    let mut bob = Ws::login(gateway.ws(), "uid=bob").await;
    assert_eq!(bob.recv().await, "Q4294967295|bob|hi");
}

#[tokio::test]
async fn only_so_many_messages_are_kept_and_none_is_dropped() {
    let gateway = Gateway::start("--max-queued 3").await;
    let mut alice = Ws::settled(gateway.ws(), "uid=alice").await;
    alice.send_all((0..3).map(|number| format!("Q60|bob|{number}"))).await;
    assert!(alice.ask("Q60|bob|3").await.starts_with("!error "));
    let mut bob = Ws::login(gateway.ws(), "uid=bob").await;
    for number in 0..3 {
        assert_eq!(bob.recv().await, format!("Q60|bob|{number}"));
    }
    assert_eq!(bob.ask("E").await, "E");
}

#[tokio::test]
async fn without_a_queue_kept_messages_reach_only_who_is_online() {
    let gateway = Gateway::start("--queue none").await;
    let mut alice = Ws::settled(gateway.ws(), "uid=alice").await;
    assert!(alice.ask("Q60|bob|hi").await.starts_with("!error "));
    let mut bob = Tcp::settled(gateway.tcp(), "bob").await;
    alice.send("Q60|bob|hi").await;
    assert_eq!(bob.recv().await, "Q60|bob|hi");
    assert_eq!(alice.ask("E").await, "E", "no error");
}

#[tokio::test]
async fn what_cannot_be_kept_is_sent_to_who_is_online() {
    // More than a queue in memory keeps for one user.
    let big = format!("Q60|bob|{}", "x".repeat(9 << 20));
    for flags in ["--max-message 10000000", "--max-message 10000000 --queue none"] {
        let gateway = Gateway::start(flags).await;
        let mut alice = Tcp::settled(gateway.tcp(), "alice").await;
        assert!(alice.ask(&big).await.starts_with("!error "), "bob is offline");
        let mut bob = Tcp::settled(gateway.tcp(), "uid=bob&confirm=1").await;
        alice.send(&big).await;
        assert!(bob.recv().await == big, "{flags}: another message");
        // With its answer the client confirms what it read.
        assert_eq!(bob.ask("E").await, "E");
        assert_eq!(alice.ask("E").await, "E", "{flags}: no error");
    }
}

#[tokio::test]
async fn a_broadcast_reaches_everybody_who_is_online() {
    let gateway = Gateway::start("").await;
    let mut alice = Ws::settled(gateway.ws(), "uid=alice").await;
    let mut bob = Tcp::settled(gateway.tcp(), "bob").await;
    alice.send("Bhello").await;
    assert_eq!(alice.recv().await, "Bhello");
    assert_eq!(bob.recv().await, "Bhello");
}

#[tokio::test]
async fn a_room_reaches_those_who_joined_and_did_not_leave() {
    let gateway = Gateway::start("").await;
    let mut alice = Ws::settled(gateway.ws(), "uid=alice").await;
    let mut bob = Tcp::settled(gateway.tcp(), "bob").await;
    let mut carol = Tcp::settled(gateway.tcp(), "carol").await;
    assert_eq!(alice.ask("Jtea").await, "+joined tea 1");
    assert_eq!(alice.ask("Jtea").await, "+joined tea 1");
    assert_eq!(alice.ask("Jcoffee").await, "+joined coffee 2");
    assert_eq!(bob.ask("Jtea").await, "+joined tea 1");

    // The sender need not be in it.
    carol.send("Rtea|anyone?").await;
    assert_eq!(alice.recv().await, "Rtea|anyone?");
    assert_eq!(bob.recv().await, "Rtea|anyone?");
    assert_eq!(carol.ask("E").await, "E", "she is not in it");

    assert_eq!(bob.ask("Ltea").await, "+left tea 0");
    assert_eq!(bob.ask("Ltea").await, "+left tea 0");
    assert_eq!(alice.ask("Rtea|me").await, "Rtea|me");
    assert_eq!(bob.ask("E").await, "E", "he has left");
    assert_eq!(alice.ask("Lcoffee").await, "+left coffee 1");
    carol.send("Rnobody|here").await;
    assert_eq!(carol.ask("E").await, "E", "an empty room is no error");
}

#[tokio::test]
async fn a_kick_ends_all_sessions_of_a_user() {
    let gateway = Gateway::start("--sso off").await;
    let mut alice = Ws::settled(gateway.ws(), "uid=alice").await;
    let mut ws = Ws::settled(gateway.ws(), "uid=bob").await;
    let mut tcp = Tcp::settled(gateway.tcp(), "bob").await;
    assert_eq!(alice.ask("N").await, "+users 2");
    alice.send_all(["Kbob", "Obob", "N", "Tbob|hi", "Kbob", "Knobody"].map(String::from)).await;
    for answer in
        ["+kicked bob 2", "+online bob 0", "+users 1", "!offline bob", "+kicked bob 0", "+kicked nobody 0"]
    {
        assert_eq!(alice.recv().await, answer);
    }
    assert_eq!(ws.rest().await, (vec!["!bye kicked".to_owned()], Some(4001)));
    assert_eq!(tcp.rest().await, ["!bye kicked"]);
}

#[tokio::test]
async fn who_is_online_and_how_many_is_answered() {
    let gateway = Gateway::start("--sso off").await;
    let mut alice = Ws::settled(gateway.ws(), "uid=alice").await;
    assert_eq!(alice.ask("N").await, "+users 1");
    assert_eq!(alice.ask("Oalice").await, "+online alice 1");
    assert_eq!(alice.ask("Obob").await, "+online bob 0");
    let _bob = Tcp::settled(gateway.tcp(), "bob").await;
    let bob = Tcp::settled(gateway.tcp(), "bob").await;
    assert_eq!(alice.ask("Obob").await, "+online bob 1");
    assert_eq!(alice.ask("N").await, "+users 2");
    drop((_bob, bob));
    while alice.ask("Obob").await != "+online bob 0" {}
    assert_eq!(alice.ask("N").await, "+users 1");
}

#[tokio::test]
async fn all_listeners_are_on_one_hub() {
    let path = std::env::temp_dir().join(format!("tok-gateway-{}.sock", std::process::id()));
    // What a killed process left behind.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let mut gateway = Gateway::start(&format!("--unix {}", path.display())).await;
    let mut ws = Ws::settled(gateway.ws(), "uid=alice").await;
    let mut tcp = Tcp::settled(gateway.tcp(), "bob").await;
    let mut unix = Tcp::unix(&gateway.unix(), "uid=carol&confirm=1").await;
    unix.settle().await;
    ws.send("Tcarol|from ws").await;
    assert_eq!(unix.recv().await, "Tcarol|from ws");
    tcp.send("Q60|carol|from tcp").await;
    assert_eq!(unix.recv().await, "Q60|carol|from tcp");
    unix.send_all(["Talice|from unix", "Tbob|from unix"]).await;
    assert_eq!(ws.recv().await, "Talice|from unix");
    assert_eq!(tcp.recv().await, "Tbob|from unix");

    gateway.drain();
    assert_eq!(unix.rest().await, ["!bye drain"]);
    drop((ws, tcp, unix));
    gateway.ended().await;
    assert!(!path.exists(), "the socket's file is gone");
}

#[tokio::test]
async fn messages_keep_their_kind() {
    let gateway = Gateway::start("").await;
    let mut alice = Ws::settled(gateway.ws(), "uid=alice").await;
    let mut bob = Tcp::settled(gateway.tcp(), "bob").await;
    for message in
        [Message::text("E text"), Message::binary(&b"E binary"[..]), Message::binary(&b"E\xff\0"[..])]
    {
        alice.send_message(message.clone()).await;
        assert_eq!(alice.next().await, Some(message));
    }
    bob.send("Talice|x").await;
    assert_eq!(alice.next().await, Some(Message::binary(&b"Talice|x"[..])));
    alice.send_message(Message::binary(&b"N"[..])).await;
    assert_eq!(alice.next().await, Some(Message::text("+users 2")));
}

#[tokio::test]
async fn frames_can_be_all_text_or_all_binary() {
    let text = Gateway::start("--frames text").await;
    let mut alice = Ws::settled(text.ws(), "uid=alice").await;
    for (sent, received) in [
        (Message::binary(&b"E x"[..]), Message::text("E x")),
        (Message::binary(&b"E\xff"[..]), Message::binary(&b"E\xff"[..])),
    ] {
        alice.send_message(sent).await;
        assert_eq!(alice.next().await, Some(received));
    }
    let binary = Gateway::start("--frames binary").await;
    let mut alice = Ws::settled(binary.ws(), "uid=alice").await;
    alice.send("E x").await;
    assert_eq!(alice.next().await, Some(Message::binary(&b"E x"[..])));
}

#[tokio::test]
async fn the_echo_mode_returns_everything_to_whoever_asks() {
    let gateway = Gateway::start("--echo").await;
    let mut first = Ws::open(gateway.ws(), "/").await.unwrap();
    let mut second = Ws::open(gateway.ws(), "/any/path?x=y").await.unwrap();
    let mut tcp = Tcp::login(gateway.tcp(), "device=d").await;
    for message in ["", "E", "Tbob|x", "anything"] {
        first.send(message).await;
        assert_eq!(first.next().await, Some(Message::text(message)));
        assert_eq!(tcp.ask(message).await, message);
    }
    second.send_message(Message::binary(&b"\xff"[..])).await;
    assert_eq!(second.next().await, Some(Message::binary(&b"\xff"[..])));
}

#[tokio::test]
async fn the_echo_mode_makes_a_client_that_does_not_read_wait() {
    const MESSAGES: usize = 64;
    let gateway = Gateway::start("--echo --max-backlog 65536").await;
    let (sender, mut reader) = (Tcp::login(gateway.tcp(), "alice").await, Vec::new());
    // Far more than the backlog and the sockets hold: it cannot all be sent before something is read.
    let payload = vec![b'x'; 256 * 1024];
    let (mut read, mut write) = sender.split();
    let sending = async {
        for _ in 0..MESSAGES {
            write.send(&payload).await;
        }
    };
    let reading = async {
        while reader.len() < MESSAGES {
            reader.push(read.next().await.expect("the server closed").len());
        }
    };
    tokio::join!(sending, reading);
    assert_eq!(reader, vec![payload.len(); MESSAGES]);
}

#[cfg(feature = "smol")]
#[tokio::test]
async fn on_smol_the_same_is_served() {
    let gateway = Gateway::start("--runtime smol --engine async-tungstenite").await;
    let mut alice = Ws::settled(gateway.ws(), "uid=alice").await;
    alice.send_all((0..500).map(|number| format!("Q60|bob|{number}"))).await;
    assert_eq!(alice.ask("E").await, "E", "no error");
    let mut bob = Tcp::login(gateway.tcp(), "uid=bob&confirm=1").await;
    for number in 0..500 {
        assert_eq!(bob.recv().await, format!("Q60|bob|{number}"));
    }
    assert_eq!(alice.ask("Kbob").await, "+kicked bob 1");
    assert_eq!(bob.rest().await, ["!bye kicked"]);
    drop(bob);
    let report = gateway.ended().await;
    assert_eq!((report.forced, report.unstored), (0, 0));
    assert_eq!(alice.rest().await, (vec!["!bye drain".to_owned()], Some(1001)));
}
