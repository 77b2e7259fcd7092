//! Who gets in, and what the others are told.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{Gateway, Process, Tcp, Ws, request, status, within};

#[tokio::test]
async fn refused_websocket_logins_get_their_status() {
    let gateway = Gateway::start("--token secret").await;
    let long = "x".repeat(256);
    let fits = "%78".repeat(255);
    for (path, expected) in [
        ("/ws?uid=a&token=secret".to_owned(), 101),
        ("/ws?token=secret&uid=a+b%7e&device=d".to_owned(), 101),
        (format!("/ws?uid={fits}&token=secret"), 101),
        ("/ws?token=secret".to_owned(), 400),
        ("/ws?uid=&token=secret".to_owned(), 400),
        ("/ws?uid=a%7Cb&token=secret".to_owned(), 400),
        ("/ws?uid=%ff&token=secret".to_owned(), 400),
        (format!("/ws?uid={long}&token=secret"), 400),
        ("/ws?uid=a".to_owned(), 401),
        ("/ws?uid=a&token=".to_owned(), 401),
        ("/ws?uid=a&token=Secret".to_owned(), 401),
        ("/ws?uid=a&token=secrets".to_owned(), 401),
        ("/?uid=a&token=secret".to_owned(), 404),
        ("/ws/?uid=a&token=secret".to_owned(), 404),
        ("/other".to_owned(), 404),
    ] {
        assert_eq!(status(gateway.ws(), &request(&path, "")).await, expected, "{path}");
    }
}

#[tokio::test]
async fn malformed_handshakes_get_their_status() {
    let gateway = Gateway::start("").await;
    let whole = request("/ws?uid=a", "");
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for (request, expected) in [
        (whole.clone(), 101),
        (whole.replace("Version: 13", "Version: 8"), 426),
        (whole.replace("Upgrade: websocket\r\n", ""), 426),
        (whole.replace("Upgrade: websocket", "Upgrade: h2c"), 426),
        (whole.replace(key, ""), 400),
        (whole.replace("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ="), 400),
        (whole.replace("Connection: Upgrade\r\n", ""), 400),
        (whole.replace("Host: gateway", "Host gateway"), 400),
    ] {
        assert_eq!(status(gateway.ws(), &request).await, expected, "{request}");
    }
}

#[tokio::test]
async fn refused_tcp_logins_get_an_error_and_the_end() {
    let gateway = Gateway::start("--token secret").await;
    let long = format!("uid={}&token=secret", "x".repeat(256));
    for login in [
        "a",
        "uid=a",
        "uid=a&token=wrong",
        "token=secret",
        "uid=&token=secret",
        "uid=a%7Cb&token=secret",
        &long,
    ] {
        let answers = Tcp::login(gateway.tcp(), login).await.rest().await;
        assert_eq!(answers.len(), 1, "{login}: {answers:?}");
        assert!(answers[0].starts_with("!error "), "{login}: {answers:?}");
    }
    Tcp::settled(gateway.tcp(), "uid=a&token=secret").await;
}

#[tokio::test]
async fn names_are_the_same_over_both_transports() {
    let gateway = Gateway::start("").await;
    let mut over_ws = Ws::settled(gateway.ws(), "uid=J%C3%BCrgen+K").await;
    assert_eq!(over_ws.ask("OJürgen K").await, "+online Jürgen K 1");
    let mut form = Tcp::settled(gateway.tcp(), "uid=J%C3%BCrgen+K").await;
    assert_eq!(over_ws.rest().await.1, Some(4000));
    let mut bare = Tcp::settled(gateway.tcp(), "Jürgen K").await;
    assert_eq!(form.rest().await, ["!bye sso"]);
    assert_eq!(bare.ask("N").await, "+users 1");
}

#[tokio::test]
async fn pages_of_the_same_host_may_connect_and_others_not() {
    let gateway = Gateway::start("").await;
    for (origin, expected) in [
        ("", 101),
        ("Origin: http://gateway\r\n", 101),
        ("Origin: https://gateway\r\n", 101),
        ("Origin: http://evil.example\r\n", 403),
        ("Origin: null\r\n", 403),
    ] {
        assert_eq!(status(gateway.ws(), &request("/ws?uid=a", origin)).await, expected, "{origin}");
    }
}

#[tokio::test]
async fn a_list_of_origins_replaces_the_same_host() {
    let gateway = Gateway::start("--origin https://one.example --origin=http://two.example:8080").await;
    for (origin, expected) in [
        ("", 101),
        ("Origin: https://one.example\r\n", 101),
        ("Origin: http://two.example:8080\r\n", 101),
        ("Origin: http://two.example\r\n", 403),
        ("Origin: http://gateway\r\n", 403),
    ] {
        assert_eq!(status(gateway.ws(), &request("/ws?uid=a", origin)).await, expected, "{origin}");
    }
}

#[tokio::test]
async fn only_so_many_sessions_are_let_in() {
    let gateway = Gateway::start("--max-connections 2").await;
    let mut alice = Ws::settled(gateway.ws(), "uid=alice").await;
    let bob = Tcp::settled(gateway.tcp(), "bob").await;
    // Logins that are refused or unfinished take no place.
    let _unfinished = Tcp::connect(gateway.tcp()).await;
    assert_eq!(Ws::open(gateway.ws(), "/ws?uid=carol").await.err(), Some(503));
    let refusal = Tcp::login(gateway.tcp(), "carol").await.rest().await;
    assert!(refusal.len() == 1 && refusal[0].starts_with("!error "), "{refusal:?}");
    // Who comes back takes the place that it had.
    let mut again = Ws::settled(gateway.ws(), "uid=alice").await;
    assert_eq!(alice.rest().await.1, Some(4000));

    drop(bob);
    while again.ask("N").await != "+users 1" {}
    Tcp::settled(gateway.tcp(), "carol").await;
}

#[tokio::test]
async fn only_so_many_sessions_of_one_user_are_let_in() {
    let gateway = Gateway::start("--sso off --max-per-user 2").await;
    let _one = Ws::settled(gateway.ws(), "uid=bob").await;
    let _two = Tcp::settled(gateway.tcp(), "bob").await;
    assert_eq!(Ws::open(gateway.ws(), "/ws?uid=bob").await.err(), Some(503));
    Ws::settled(gateway.ws(), "uid=alice").await;
}

#[tokio::test]
async fn three_hundred_half_open_handshakes_are_cut_and_others_are_served() {
    let gateway = Process::start("--auth-timeout 1").await;
    let mut open = Vec::new();
    for number in 0..150 {
        let ws = within("a connection", TcpStream::connect(gateway.ws())).await.unwrap();
        let tcp = within("a connection", TcpStream::connect(gateway.tcp())).await.unwrap();
        match number % 3 {
            0 => {}
            1 => {
                assert!(ws.try_write(b"GET /ws?uid=a HTTP/1.1\r\nHost: ga").unwrap() > 0);
                assert!(tcp.try_write(&[0, 0, 0, 9, b'u']).unwrap() > 0);
            }
            _ => {
                assert!(ws.try_write(b"G").unwrap() > 0);
                assert!(tcp.try_write(&[0, 0]).unwrap() > 0);
            }
        }
        open.extend([ws, tcp]);
    }
    // Bounds on unfinished logins must not keep others out for longer than those take.
    Ws::settled(gateway.ws(), "uid=alice").await;
    Tcp::settled(gateway.tcp(), "bob").await;
    for mut stream in open {
        let mut answer = Vec::new();
        // Cut: the end of the stream, or a reset.
        let _ = within("the cut", stream.read_to_end(&mut answer)).await;
    }
}

#[tokio::test]
async fn a_client_that_sends_its_login_in_drops_is_cut_too() {
    let gateway = Gateway::start("--auth-timeout 0.5").await;
    let mut stream = within("a connection", TcpStream::connect(gateway.tcp())).await.unwrap();
    stream.write_all(b"\0\0\x10\0uid=").await.unwrap();
    let dripping = async {
        // Writing fails once the server has reset the connection.
        while stream.write_all(b"a").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await; // sleep: what a slow client does
        }
    };
    within("the cut", dripping).await;
}
