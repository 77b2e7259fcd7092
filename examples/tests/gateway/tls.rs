//! Both listeners over TLS.

use std::fs;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{Certificate, Gateway, Process, get, number, request, within};

#[tokio::test]
async fn both_listeners_speak_tls() {
    let certificate = Certificate::new();
    let gateway = Gateway::start(&format!("{} --metrics 127.0.0.1:0", certificate.flags())).await;
    let mut alice = certificate.ws(gateway.ws(), "uid=alice").await;
    let mut bob = certificate.tcp(gateway.tcp(), "bob").await;
    assert_eq!(alice.ask("Ehello").await, "Ehello");
    assert_eq!(bob.ask("Ehello").await, "Ehello");
    for message in ["Tbob|hi".to_owned(), format!("Tbob|{}", "x".repeat(900_000))] {
        alice.send(message.as_str()).await;
        assert_eq!(bob.recv().await, message);
        let answer = message.replacen("bob", "alice", 1);
        bob.send(&answer).await;
        assert_eq!(alice.recv().await, answer);
    }
    // Operators come from elsewhere.
    assert_eq!(get(gateway.metrics(), "/healthz").await, (200, "ok\n".to_owned()));
}

#[tokio::test]
async fn messages_to_idle_receivers_arrive_in_order() {
    let certificate = Certificate::new();
    let gateway = Gateway::start(&format!("{} --sso off", certificate.flags())).await;
    let mut over_ws = certificate.ws(gateway.ws(), "uid=bob").await;
    over_ws.settle().await;
    let mut over_tcp = certificate.tcp(gateway.tcp(), "uid=bob&confirm=1").await;
    over_tcp.settle().await;
    let mut alice = certificate.tcp(gateway.tcp(), "alice").await;
    for expected in 0..1000 {
        let to = if expected % 2 == 0 { "Tbob" } else { "Q60|bob" };
        alice.send(format!("{to}|{expected}")).await;
        if expected % 100 == 0 {
            // Whoever has read everything is idle.
            assert_eq!(alice.ask("E").await, "E");
        }
        if expected % 10 == 9 {
            for read in expected - 9..=expected {
                assert_eq!(number(&over_ws.recv().await), read);
                assert_eq!(number(&over_tcp.recv().await), read);
            }
        }
    }
}

#[tokio::test]
async fn what_a_client_confirmed_does_not_come_again() {
    let certificate = Certificate::new();
    let gateway = Gateway::start(&certificate.flags()).await;
    let mut alice = certificate.tcp(gateway.tcp(), "alice").await;
    alice.send_all((0..10).map(|number| format!("Q60|bob|{number}"))).await;
    assert_eq!(alice.ask("E").await, "E", "no send failed");
    let mut bob = certificate.tcp(gateway.tcp(), "uid=bob&confirm=1").await;
    for expected in 0..10 {
        assert_eq!(number(&bob.recv().await), expected);
    }
    // One question is open at a time: the last one comes before the second echo at the latest.
    assert_eq!((bob.ask("E").await, bob.ask("E").await), ("E".to_owned(), "E".to_owned()));
    // An end without a word, of TLS or of TCP.
    drop(bob);
    alice.send("Q60|bob|10").await;
    let mut bob = certificate.ws(gateway.ws(), "uid=bob").await;
    assert_eq!(number(&bob.recv().await), 10);
}

#[tokio::test]
async fn handshakes_that_stop_halfway_are_cut_and_others_are_served() {
    let certificate = Certificate::new();
    let gateway = Gateway::start(&format!("{} --auth-timeout 0.5", certificate.flags())).await;
    for addr in [gateway.ws(), gateway.tcp()] {
        let mut half_open = Vec::new();
        for number in 0..150 {
            let mut stream = within("a connection", TcpStream::connect(addr)).await.unwrap();
            if number % 2 == 0 {
                // The head of a record that never comes.
                stream.write_all(&[22, 3, 1, 1, 0, 1]).await.unwrap();
            }
            half_open.push(stream);
        }
        let mut bob = certificate.tcp(gateway.tcp(), "bob").await;
        assert_eq!(bob.ask("E").await, "E");
        for mut stream in half_open {
            // However it ends.
            let _ = within("the cut", stream.read_to_end(&mut Vec::new())).await;
        }
    }
    // Who is done with TLS and does not log in has no more time than others.
    let mut silent = certificate.connect(gateway.ws()).await;
    let _ = within("the cut", silent.read_to_end(&mut Vec::new())).await;
    // Who speaks no TLS is told so in TLS.
    let mut plain = within("a connection", TcpStream::connect(gateway.tcp())).await.unwrap();
    plain.write_all(b"\0\0\0\x03bob").await.unwrap();
    let mut answer = Vec::new();
    let _ = within("the cut", plain.read_to_end(&mut answer)).await;
    assert!(!answer.starts_with(b"\0\0\0"), "{answer:?}");
}

#[tokio::test]
async fn the_goodbye_ends_tls_in_good_order() {
    let certificate = Certificate::new();
    let mut gateway = Process::start(&certificate.flags()).await;
    let mut ws = certificate.ws(gateway.ws(), "uid=alice").await;
    ws.settle().await;
    let mut tcp = certificate.tcp(gateway.tcp(), "bob").await;
    tcp.settle().await;
    gateway.signal("TERM").await;
    assert_eq!(ws.rest().await, (vec!["!bye drain".to_owned()], Some(1001)));
    assert_eq!(tcp.recv().await, "!bye drain");
    // rustls takes an end without TLS's own goodbye for an error.
    assert_eq!(within("the end", tcp.stream().read(&mut [0; 10])).await.unwrap(), 0);
    drop((ws, tcp));
    assert_eq!(gateway.ended().await, Some(0));
}

#[tokio::test]
async fn files_that_cannot_be_used_are_one_line_and_status_2() {
    let (certificate, other) = (Certificate::new(), Certificate::new());
    let broken = Certificate::new();
    fs::write(broken.cert(), "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n").unwrap();
    fs::write(broken.key(), "a letter to a friend\nin two lines").unwrap();
    let missing = broken.cert().with_file_name("missing.pem");
    for (cert, key) in [
        (certificate.cert(), other.key()),
        (certificate.key(), certificate.cert()),
        (broken.cert(), certificate.key()),
        (certificate.cert(), broken.key()),
        (missing.clone(), certificate.key()),
        (certificate.cert(), missing),
    ] {
        let flags = format!("--tcp 127.0.0.1:0 --tls-cert {} --tls-key {}", cert.display(), key.display());
        let (status, out, err) = Process::run(&flags).await;
        assert_eq!((status, out.as_str(), err.lines().count()), (Some(2), "", 1), "{flags}: {err}");
    }
}

async fn sighup_renews(flags: &str) {
    let (certificate, renewed) = (Certificate::new(), Certificate::new());
    let mut gateway = Process::start(&format!("{} {flags}", certificate.flags())).await;
    let mut early = certificate.tcp(gateway.tcp(), "early").await;
    early.settle().await;

    // Only the certificate is there: it is not the key's.
    fs::copy(renewed.cert(), certificate.cert()).unwrap();
    gateway.signal("HUP").await;
    gateway.logs("the old certificate stays").await;
    certificate.tcp(gateway.tcp(), "second").await.settle().await;

    certificate.install(&renewed);
    gateway.signal("HUP").await;
    gateway.logs("the certificate and its key were read again").await;
    for addr in [gateway.ws(), gateway.tcp()] {
        assert!(certificate.try_connect(addr).await.is_err(), "the old certificate is still shown");
        renewed.connect(addr).await;
    }
    renewed.tcp(gateway.tcp(), "third").await.settle().await;
    assert_eq!(early.ask("E").await, "E", "sessions go on");
    gateway.signal("TERM").await;
    assert_eq!(early.rest().await, ["!bye drain"]);
    drop(early);
    assert_eq!(gateway.ended().await, Some(0));
}

#[tokio::test]
async fn sighup_renews_the_certificate_and_a_bad_one_keeps_the_old() {
    sighup_renews("").await;
}

#[cfg(feature = "smol")]
#[tokio::test]
async fn sighup_renews_the_certificate_on_smol() {
    sighup_renews("--runtime smol --engine async-tungstenite").await;
}

#[tokio::test]
async fn a_page_over_http_may_not_connect_where_tls_ends_here() {
    let certificate = Certificate::new();
    let gateway = Gateway::start(&certificate.flags()).await;
    for (origin, expected) in [("https://localhost", 101), ("http://localhost", 403)] {
        let mut stream = certificate.connect(gateway.ws()).await;
        let request = request("/ws?uid=a", &format!("Origin: {origin}\r\n"));
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut start = [0; 12];
        within("an answer", stream.read_exact(&mut start)).await.unwrap();
        assert_eq!(start, *format!("HTTP/1.1 {expected}").as_bytes(), "{origin}");
    }
}
