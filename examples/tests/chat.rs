//! The chat, in this process, as its clients see it: over WebSocket, TCP and HTTP.

#[path = "chat/support.rs"]
mod support;

use examples::chat::{
    self,
    protocol::{ClientMessage, ServerMessage},
};
use tokio_tungstenite::{connect_async, tungstenite::Error};

use support::{Server, TcpClient, delivered, direct, patiently, said, sent, text_of};

#[tokio::test]
async fn two_users_talk_and_both_ticks_arrive() {
    let server = Server::start().await;
    let mut alice = server.login("alice").await;
    let mut bob = server.login("bob").await;

    let cid = alice.write("bob", "tea at five? <b>ö</b> \u{1f375}").await;
    assert_eq!(alice.next().await, sent(&cid));
    assert_eq!(text_of(bob.next().await), said("alice", "tea at five? <b>ö</b> \u{1f375}"));
    // Bob's client answers the Ping while it reads on.
    let reading = tokio::spawn(async move { bob.end().await });
    assert_eq!(alice.next().await, delivered(&cid));

    server.stop(alice).await;
    let (bye, code) = reading.await.unwrap();
    assert_eq!(bye, ServerMessage::Bye { reason: "drain".into(), reconnect: "now".into() });
    assert_eq!(code, 1001);
}

#[tokio::test]
async fn who_was_away_gets_what_was_missed_in_order_and_once() {
    let server = Server::start().await;
    let mut alice = server.login("alice").await;
    let bob = server.login("bob").await;
    alice.until_online(&["alice", "bob"]).await;
    bob.close().await;
    alice.until_online(&["alice"]).await;

    for index in 0..50 {
        let cid = alice.write("bob", &index.to_string()).await;
        // Only the first tick: nobody has it.
        assert_eq!(alice.next().await, sent(&cid));
    }
    let mut bob = server.login("bob").await;
    for index in 0..50 {
        assert_eq!(text_of(bob.next().await), said("alice", &index.to_string()));
    }
    let bob = bob.read_on();
    let mut ticks: Vec<ServerMessage> = Vec::new();
    while ticks.len() < 50 {
        ticks.push(alice.next().await);
    }
    for index in 1..=50 {
        assert!(ticks.contains(&delivered(&format!("c{index}"))), "no second tick for message {index}");
    }
    bob.stop().await.close().await;

    // What is confirmed does not come again.
    let mut bob = server.login("bob").await;
    alice.write("bob", "new").await;
    assert_eq!(text_of(bob.next().await), said("alice", "new"));
    server.stop((alice, bob)).await;
}

#[tokio::test]
async fn a_second_login_takes_the_place_of_the_first() {
    let server = Server::start().await;
    let first = server.login("alice").await;
    let mut second = server.login("alice").await;
    let (bye, code) = first.end().await;
    assert_eq!(bye, ServerMessage::Bye { reason: "sso".into(), reconnect: "never".into() });
    assert_eq!(code, 4000);

    let mut bob = server.login("bob").await;
    bob.write("alice", "which of you?").await;
    assert_eq!(text_of(second.next().await), said("bob", "which of you?"));
    server.stop((second, bob)).await;
}

#[tokio::test]
async fn a_message_that_is_sent_again_is_answered_again_and_delivered_once() {
    let server = Server::start().await;
    let mut alice = server.login("alice").await;
    alice.write("bob", "once").await;
    assert_eq!(alice.next().await, sent("c1"));
    // As a page does that lost its connection before the answer.
    drop(alice);
    let mut alice = server.login("alice").await;
    alice.send(&direct("bob", "once", "c1")).await;
    assert_eq!(alice.next().await, sent("c1"));
    alice.send(&direct("bob", "twice", "c2")).await;
    assert_eq!(alice.next().await, sent("c2"));

    let mut bob = server.login("bob").await;
    assert_eq!(text_of(bob.next().await), said("alice", "once"));
    assert_eq!(text_of(bob.next().await), said("alice", "twice"));
    server.stop((alice, bob)).await;
}

#[tokio::test]
async fn the_second_tick_waits_for_a_sender_who_is_away() {
    let server = Server::start().await;
    let mut alice = server.login("alice").await;
    let cid = alice.write("bob", "read this later").await;
    assert_eq!(alice.next().await, sent(&cid));
    alice.close().await;

    let mut bob = server.login("bob").await;
    assert_eq!(text_of(bob.next().await), said("alice", "read this later"));
    let bob = bob.read_on();
    let mut alice = server.login("alice").await;
    assert_eq!(alice.next().await, delivered(&cid));
    server.stop((alice, bob.stop().await)).await;
}

#[tokio::test]
async fn past_the_limit_on_receipts_the_oldest_message_gets_no_second_tick() {
    const LIMIT: usize = 100;
    let server = Server::start().await;
    let mut alice = server.login("alice").await;
    for _ in 0..=LIMIT {
        let cid = alice.write("bob", "hello").await;
        assert_eq!(alice.next().await, sent(&cid));
    }
    let mut bob = server.login("bob").await;
    for _ in 0..=LIMIT {
        assert_eq!(text_of(bob.next().await), said("alice", "hello"));
    }
    let bob = bob.read_on();
    let mut ticked = Vec::new();
    for _ in 0..LIMIT {
        ticked.push(alice.next().await);
    }
    // The tick that is missing does not come late.
    let cid = alice.write("bob", "last").await;
    assert_eq!(alice.next().await, sent(&cid));
    assert_eq!(alice.next().await, delivered(&cid));
    assert!(!ticked.contains(&delivered("c1")), "{ticked:?}");
    server.stop((alice, bob.stop().await)).await;
}

#[tokio::test]
async fn rooms_reach_who_is_in_them() {
    let server = Server::start().await;
    let mut alice = server.login("alice").await;
    let mut bob = server.login("bob").await;
    let mut carol = server.login("carol").await;
    alice.join("tea").await;
    bob.join("tea").await;
    carol.until_rooms(&[("tea", 2)]).await;
    alice.until_members("tea", &["alice", "bob"]).await;

    let say = |text: &str, cid: &str| ClientMessage::Room {
        room: "tea".into(),
        text: text.into(),
        cid: cid.into(),
    };
    alice.send(&say("hello all", "r1")).await;
    assert_eq!(text_of(bob.next().await), said("alice", "hello all"));
    assert_eq!(text_of(alice.next().await), said("alice", "hello all"));
    assert_eq!(alice.next().await, sent("r1"));

    // Who is not in the room cannot write there.
    carol.send(&say("psst", "r1")).await;
    assert!(matches!(carol.next().await, ServerMessage::Failed { cid, .. } if cid == "r1"));

    bob.send(&ClientMessage::Leave { room: "tea".into() }).await;
    carol.until_rooms(&[("tea", 1)]).await;
    alice.until_members("tea", &["alice"]).await;
    alice.send(&say("are you there?", "r2")).await;
    alice.write("bob", "left already?").await;
    assert_eq!(text_of(bob.next().await), said("alice", "left already?"));

    // The end of a session leaves its rooms, and a room without members is gone.
    alice.close().await;
    carol.until_rooms(&[]).await;
    server.stop((bob, carol)).await;
}

#[tokio::test]
async fn a_takeover_does_not_take_the_newer_session_out_of_its_rooms() {
    let server = Server::start().await;
    let mut watcher = server.login("watcher").await;
    let mut first = server.login("alice").await;
    first.join("tea").await;
    watcher.until_rooms(&[("tea", 1)]).await;
    let mut second = server.login("alice").await;
    second.join("tea").await;
    first.end().await;
    let say = ClientMessage::Room { room: "tea".into(), text: "here".into(), cid: "r1".into() };
    second.send(&say).await;
    assert_eq!(text_of(second.next().await), said("alice", "here"));
    second.send(&ClientMessage::Leave { room: "tea".into() }).await;
    watcher.until_rooms(&[]).await;
    server.stop((watcher, second)).await;
}

#[tokio::test]
async fn everybody_sees_who_is_online() {
    let server = Server::start().await;
    let mut alice = server.login("alice").await;
    alice.until_online(&["alice"]).await;
    let mut bob = server.login("bob").await;
    alice.until_online(&["alice", "bob"]).await;
    bob.until_online(&["alice", "bob"]).await;
    alice.close().await;
    bob.until_online(&["bob"]).await;
    server.stop(bob).await;
}

#[tokio::test]
async fn a_tcp_client_is_in_the_same_chat() {
    let server = Server::start().await;
    let mut alice = server.login("alice").await;
    let mut tcp = TcpClient::login(server.addresses, "uid=bob&confirm=1").await;
    alice.until_online(&["alice", "bob"]).await;

    let cid = alice.write("bob", "over there?").await;
    assert_eq!(alice.next().await, sent(&cid));
    assert_eq!(text_of(tcp.next().await), said("alice", "over there?"));
    tcp.send(&direct("alice", "over here", "t1")).await;
    // Reading on, it answers the empty frame behind alice's message.
    assert_eq!(tcp.next().await, sent("t1"));
    let reading = tokio::spawn(async move { tcp.next().await });
    let both = [alice.next().await, alice.next().await];
    assert!(both.contains(&delivered(&cid)), "{both:?}");
    assert!(
        both.iter()
            .any(|message| matches!(message, ServerMessage::Direct { text, .. } if text == "over here"))
    );
    assert_eq!(patiently("the tick", reading).await.unwrap(), delivered("t1"));
    server.stop(alice).await;
}

#[tokio::test]
async fn what_makes_no_sense_is_answered_and_the_connection_lives_on() {
    let server = Server::start().await;
    let mut alice = server.login("alice").await;
    for nonsense in ["", "hello", "{}", r#"{"type":"dance"}"#, r#"{"type":"join","room":" "}"#, "[[[["] {
        alice.send_text(nonsense).await;
        assert!(matches!(alice.next().await, ServerMessage::Error { .. }), "{nonsense}");
    }
    let long = "x".repeat(chat::MAX_TEXT + 1);
    for (to, text, cid) in
        [("alice", "me", "1"), (" bob", "x", "2"), ("bob", " ", "3"), ("bob", &long, "4"), ("", "x", "5")]
    {
        alice.send(&direct(to, text, cid)).await;
        assert!(
            matches!(alice.next().await, ServerMessage::Failed { cid: failed, .. } if failed == cid),
            "{to} {cid}"
        );
    }
    alice.send(&direct("bob", &long[1..], "4")).await;
    assert_eq!(alice.next().await, sent("4"));
    server.stop(alice).await;
}

#[tokio::test]
async fn logins_without_a_usable_name_are_refused() {
    let server = Server::start().await;
    for name in ["", "%20bob", "bob%0A", "bob%E2%80%AE", "%E2%81%A6bob", &"x".repeat(chat::MAX_NAME + 1)] {
        match connect_async(server.ws_url(name)).await {
            Err(Error::Http(response)) => assert_eq!(response.status().as_u16(), 400, "{name:?}"),
            other => panic!("{name:?} was not refused: {other:?}"),
        }
    }
    server.stop(()).await;
}

#[tokio::test]
async fn the_page_is_served_with_a_strict_policy() {
    let server = Server::start().await;
    for (path, content_type, mark) in [
        ("/", "text/html; charset=utf-8", "data-testid=\"message-input\""),
        ("/app.js", "text/javascript; charset=utf-8", "connection.js"),
        ("/connection.js", "text/javascript; charset=utf-8", "new WebSocket("),
        ("/style.css", "text/css; charset=utf-8", "prefers-color-scheme"),
        ("/icon.svg", "image/svg+xml", "<svg"),
    ] {
        let (head, body) = server.get(path).await;
        assert!(head.starts_with("http/1.1 200"), "{path}: {head}");
        assert!(head.contains(&format!("\r\ncontent-type: {content_type}\r\n")), "{path}: {head}");
        let policy = head.lines().find_map(|line| line.strip_prefix("content-security-policy: ")).unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        assert!(body.contains(mark), "{path}");
    }
    let (_, html) = server.get("/").await;
    for script in html.split("<script").skip(1) {
        let (tag, rest) = script.split_once('>').unwrap();
        assert!(tag.contains("src=") && rest.starts_with("</script>"), "the policy forbids inline scripts");
    }
    assert!(server.get("/nothing").await.0.starts_with("http/1.1 404"));
    assert!(server.get("/ws?uid=a").await.0.starts_with("http/1.1 426"));
    server.stop(()).await;
}

#[tokio::test]
async fn a_join_costs_others_a_line_however_many_users_and_rooms_there_are() {
    let server = Server::start().await;
    let mut crowd = Vec::new();
    for user in 0..20 {
        let mut client = server.login(&format!("user{user}")).await;
        for room in 0..30 {
            client.join(&format!("room {room}")).await;
        }
        crowd.push(client.read_on());
    }
    let mut watcher = server.login("watcher").await;
    let mut alice = server.login("alice").await;
    let names: Vec<String> = (0..30).map(|room| format!("room {room}")).collect();
    let mut rooms: Vec<(&str, usize)> = names.iter().map(|name| (name.as_str(), 20)).collect();
    watcher.until_rooms(&rooms).await;
    alice.join("a room of her own").await;
    rooms.push(("a room of her own", 1));
    let bytes = watcher.until_rooms(&rooms).await;
    assert!(bytes < 200, "{bytes} bytes");
    server.stop((crowd, watcher, alice)).await;
}

#[tokio::test]
async fn of_many_rooms_the_largest_are_listed_and_of_many_members_the_first() {
    let server = Server::start().await;
    let mut alice = server.login("alice").await;
    let mut crowd = Vec::new();
    for user in 0..25 {
        let mut client = server.login(&format!("user{user}")).await;
        for room in 0..8 {
            client.join(&format!("room {room} of {user}")).await;
        }
        // Once it is in this one, it is in the others: there are 201 rooms then.
        client.join("the largest").await;
        crowd.push(client.read_on());
    }
    alice.join("the largest").await;
    assert_eq!(alice.until_size("the largest", 26).await, (200, 20));
    server.stop((crowd, alice)).await;
}

#[tokio::test]
async fn senders_to_absent_users_take_no_second_ticks_from_others() {
    let server = Server::start().await;
    let mut senders = Vec::new();
    for sender in 0..10 {
        let mut client = server.login(&format!("sender{sender}")).await;
        for _ in 0..100 {
            let cid = client.write("nobody", "are you there?").await;
            assert_eq!(client.next().await, sent(&cid));
        }
        senders.push(client.read_on());
    }
    let mut alice = server.login("alice").await;
    let bob = server.login("bob").await.read_on();
    let cid = alice.write("bob", "hello").await;
    assert_eq!(alice.next().await, sent(&cid));
    assert_eq!(alice.next().await, delivered(&cid));
    server.stop((senders, alice, bob)).await;
}
