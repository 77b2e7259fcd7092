//! Who gets in, and what the others are told.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{Folder, Gateway, Process, Tcp, Ws, request, status, within};

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
        ("/ws?uid=a%EF%BF%BD&token=secret".to_owned(), 101),
        ("/ws?uid=%ff&token=secret".to_owned(), 400),
        ("/ws?uid=%ed%a0%80&token=secret".to_owned(), 400),
        ("/ws?uid=a&device=%ff&token=secret".to_owned(), 400),
        (format!("/ws?uid=a&device={fits}&token=secret"), 101),
        (format!("/ws?uid=a&device={long}&token=secret"), 400),
        (format!("/ws?uid={long}&token=secret"), 400),
        ("/ws?uid=a".to_owned(), 401),
        ("/ws?uid=a&token=".to_owned(), 401),
        ("/ws?uid=a&token=Secret".to_owned(), 401),
        ("/ws?uid=a&token=secrets".to_owned(), 401),
        ("/ws?uid=a&token=secret%ff".to_owned(), 401),
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
        (whole.replace("Host: localhost", "Host localhost"), 400),
    ] {
        assert_eq!(status(gateway.ws(), &request).await, expected, "{request}");
    }
}

#[tokio::test]
async fn refused_tcp_logins_get_an_error_and_the_end() {
    let gateway = Gateway::start("--token secret").await;
    let long = format!("uid={}&token=secret", "x".repeat(256));
    let long_device = format!("uid=a&device={}&token=secret", "x".repeat(256));
    for login in [
        "a",
        "uid=a",
        "uid=a&token=wrong",
        "token=secret",
        "uid=&token=secret",
        "uid=a%7Cb&token=secret",
        "uid=a%ff&token=secret",
        "uid=a&device=%ff&token=secret",
        &long,
        &long_device,
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

    // U+FFFD is a character like others.
    let mut odd = Ws::settled(gateway.ws(), "uid=a%EF%BF%BD").await;
    bare.send("Ta\u{fffd}|hi").await;
    assert_eq!(odd.recv().await, "Ta\u{fffd}|hi");
    let mut bare = Tcp::settled(gateway.tcp(), "a\u{fffd}").await;
    assert_eq!(odd.rest().await.1, Some(4000));
    assert_eq!(bare.ask("Oa\u{fffd}").await, "+online a\u{fffd} 1");
}

#[tokio::test]
async fn devices_whose_ids_differ_in_bytes_never_end_each_other() {
    let gateway = Gateway::start("--sso device").await;
    let mut first = Ws::settled(gateway.ws(), "uid=u&device=x%EF%BF%BD").await;
    for device in ["x%ff", "x%fe", "x%ed%a0%80"] {
        assert_eq!(Ws::open(gateway.ws(), &format!("/ws?uid=u&device={device}")).await.err(), Some(400));
        let answers = Tcp::login(gateway.tcp(), &format!("uid=u&device={device}")).await.rest().await;
        assert!(answers.len() == 1 && answers[0].starts_with("!error "), "{answers:?}");
    }
    assert_eq!(first.ask("N").await, "+users 1");
}

#[tokio::test]
async fn a_token_is_compared_as_bytes() {
    let folder = Folder::new();
    folder.write("token", b"\xffsecret\n");
    let gateway = Gateway::start(&format!("--token-file {}", folder.path("token").display())).await;
    for (token, expected) in [
        ("%ffsecret", 101),
        ("%FFsecret", 101),
        ("%fesecret", 401),
        ("%EF%BF%BDsecret", 401),
        ("%ffsecret%0a", 401),
        ("", 401),
    ] {
        let path = format!("/ws?uid=a&token={token}");
        assert_eq!(status(gateway.ws(), &request(&path, "")).await, expected, "{token}");
    }
    Tcp::settled(gateway.tcp(), "uid=a&token=%ffsecret").await;
}

#[tokio::test]
async fn origins_without_a_host_can_be_named() {
    for (flags, passes) in [("", ""), ("--origin null", "null"), ("--origin file://", "file://")] {
        let gateway = Gateway::start(flags).await;
        for origin in ["null", "file://", "http://evil.example"] {
            let expected = if origin == passes { 101 } else { 403 };
            let header = format!("Origin: {origin}\r\n");
            assert_eq!(
                status(gateway.ws(), &request("/ws?uid=a", &header)).await,
                expected,
                "{flags} {origin}"
            );
        }
    }
}

#[tokio::test]
async fn a_page_that_rebinds_its_name_to_loopback_is_answered_with_421() {
    let of = |host: &str, query: &str| request(&format!("/ws?uid=a{query}"), "").replace("localhost", host);
    // A page of evil.example, whose name now has the address of this machine.
    let page = |query: &str| of("evil.example\r\nOrigin: http://evil.example", query);
    let local = Gateway::start("").await;
    let hosts = ["localhost", "127.0.0.1:9001", "127.9.9.9", "[::1]:9001"]; // port: text only
    for host in hosts {
        assert_eq!(status(local.ws(), &of(host, "")).await, 101, "{host}");
    }
    assert_eq!(status(local.ws(), &page("")).await, 421);
    assert_eq!(status(local.ws(), &of("chat.example", "")).await, 421);

    // A token proves who a client is: pages do not have it.
    let asks = Gateway::start("--token secret").await;
    assert_eq!(status(asks.ws(), &page("&token=secret")).await, 101);
    // Others than this machine reach it, by any name.
    let open = Gateway::start("--tcp 0.0.0.0:0").await;
    assert_eq!(status(open.ws(), &of("chat.example", "")).await, 101);

    let named = Gateway::start("--host chat.example --host [::1] --token secret").await;
    for (host, expected) in
        [("chat.example:8080", 101), ("CHAT.example", 101), ("[::1]", 101), ("localhost", 421)]
    // port: text only
    {
        assert_eq!(status(named.ws(), &of(host, "&token=secret")).await, expected, "{host}");
    }
    assert_eq!(status(named.ws(), &page("&token=secret")).await, 421);
}

#[tokio::test]
async fn the_best_subprotocol_that_both_speak_is_answered() {
    let gateway = Gateway::start("--subprotocol v2 --subprotocol=v1").await;
    for (offered, chosen) in [
        (&["v1"][..], Some("v1")),
        (&["v1", "v2"], Some("v2")),
        (&["other", "v1"], Some("v1")),
        (&["V1"], None),
        (&["other"], None),
        (&[], None),
    ] {
        let mut stream = within("a connection", TcpStream::connect(gateway.ws())).await.unwrap();
        let header: String =
            offered.iter().map(|name| format!("Sec-WebSocket-Protocol: {name}\r\n")).collect();
        stream.write_all(request("/ws?uid=a", &header).as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(within("an answer", stream.read_u8()).await.unwrap());
        }
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 101 "), "{head}");
        let answered = head.lines().find_map(|line| line.strip_prefix("sec-websocket-protocol: "));
        assert_eq!(answered, chosen, "{offered:?}");
    }
}

#[tokio::test]
async fn pages_of_the_same_host_may_connect_and_others_not() {
    let gateway = Gateway::start("").await;
    for (origin, expected) in [
        ("", 101),
        ("Origin: http://localhost\r\n", 101),
        ("Origin: https://localhost\r\n", 101),
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
        ("Origin: http://localhost\r\n", 403),
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
                assert!(ws.try_write(b"GET /ws?uid=a HTTP/1.1\r\nHost: lo").unwrap() > 0);
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
