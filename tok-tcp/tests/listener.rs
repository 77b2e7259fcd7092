//! The server over real sockets, on tokio and on smol.

#![cfg(unix)]

mod support;

use std::time::Duration;

use support::{Client, On, Setup, frame, start};

macro_rules! on_each_runtime {
    ($($test:ident)*) => {
        mod on_tokio {
            $(#[test] fn $test() { super::$test(super::On::Tokio); })*
        }
        mod on_smol {
            $(#[test] fn $test() { super::$test(super::On::Smol); })*
        }
    };
}

on_each_runtime! {
    a_login_makes_a_session
    frames_behind_the_login_are_not_lost
    with_confirm_an_empty_frame_is_no_message
    a_kept_message_comes_again_until_it_is_answered
    a_refusal_is_told_and_closes
    a_refusal_survives_unread_input
    an_over_long_login_is_refused
    a_slow_login_is_closed
    a_peer_that_leaves_makes_room
    sessions_do_not_count_as_logins
}

fn a_login_makes_a_session(on: On) {
    let (_running, addr, path) = start(on, Setup::default());
    let (mut tcp, mut unix) = (Client::tcp(addr), Client::unix(&path));
    tcp.send(b"device=my+phone&uid=al%69ce");
    unix.send(b"b+ob%41");
    assert_eq!(tcp.ask("hello"), "alice/my phone: hello");
    assert_eq!(unix.ask("hello"), "b+ob%41/: hello", "a bare name is not decoded");
    assert_eq!(tcp.ask(""), "alice/my phone: ", "an empty message");
}

fn frames_behind_the_login_are_not_lost(on: On) {
    let (_running, addr, _path) = start(on, Setup::default());
    let mut client = Client::tcp(addr);
    let mut wire = frame(b"uid=a");
    let mut expected = Vec::new();
    // The last is longer than a login may be: its limit is the hub's.
    for len in (0..100).chain([10_000]) {
        let text = "x".repeat(len);
        wire.extend_from_slice(&frame(text.as_bytes()));
        expected.push(format!("a/: {text}"));
    }
    client.raw(&wire);
    for text in expected {
        assert_eq!(client.next(), Some(text));
    }
}

fn with_confirm_an_empty_frame_is_no_message(on: On) {
    let (_running, addr, _path) = start(on, Setup::default());
    let mut client = Client::tcp(addr);
    client.send(b"uid=a&confirm=1");
    client.send(b"");
    assert_eq!(client.ask("x"), "a/: x");
}

fn a_kept_message_comes_again_until_it_is_answered(on: On) {
    let (_running, addr, _path) = start(on, Setup::default());
    let log_in = || {
        let mut client = Client::tcp(addr);
        client.send(b"uid=a&confirm=1");
        client
    };
    let mut first = log_in();
    assert_eq!(first.ask("keep"), "kept");
    assert_eq!(first.next().as_deref(), Some(""), "the probe");

    // It was not answered, so the next login, which takes the place of the first, gets the message too.
    let mut second = log_in();
    assert_eq!(second.next().as_deref(), Some("kept"));
    assert_eq!(second.next().as_deref(), Some(""));
    second.send(b"");
    assert_eq!(second.ask("x"), "a/: x", "so the answer has been read");

    let mut third = log_in();
    assert_eq!(third.ask("y"), "a/: y");
}

fn a_refusal_is_told_and_closes(on: On) {
    let (_running, addr, path) = start(on, Setup::default());
    for (login, answer) in [
        (&b"uid=a&token=wrong"[..], Some("!error bad token")),
        (b"device=d", Some("!error no uid")),
        (b"uid=%ff", Some("!error no uid")),
        (b"", None),
        (b"uid=a&token=empty", None),
    ] {
        let mut tcp = Client::tcp(addr);
        tcp.send(login);
        let line = tcp.next().expect("a refusal");
        assert!(line.starts_with("!error ") && answer.is_none_or(|answer| line == answer), "{line}");
        assert_eq!(tcp.next(), None);
    }
    let mut unix = Client::unix(&path);
    unix.send(b"uid=a&token=wrong");
    assert_eq!(unix.next().as_deref(), Some("!error bad token"));
    assert_eq!(unix.next(), None);
}

fn a_refusal_survives_unread_input(on: On) {
    let (_running, addr, _path) = start(on, Setup::default());
    let mut client = Client::tcp(addr);
    client.raw(&[frame(b"uid=a&token=wrong"), frame(&[7; 300_000])].concat());
    client.shutdown();
    assert_eq!(client.next().as_deref(), Some("!error bad token"));
    assert_eq!(client.next(), None);
}

fn an_over_long_login_is_refused(on: On) {
    let (_running, addr, _path) = start(on, Setup::default());
    let mut fits = Client::tcp(addr);
    fits.send(format!("uid=a&pad={}", "x".repeat(4096 - 10)).as_bytes());
    assert_eq!(fits.ask("x"), "a/: x");
    for announced in [4097, u32::MAX] {
        let mut client = Client::tcp(addr);
        client.raw(&announced.to_be_bytes());
        assert_eq!(client.next().as_deref(), Some("!error the login is over the limit of 4096 bytes"));
        assert_eq!(client.next(), None);
    }
}

fn a_slow_login_is_closed(on: On) {
    let (_running, addr, path) =
        start(on, Setup { auth_timeout: Duration::from_millis(50), ..Setup::default() });
    let mut slow = Client::tcp(addr);
    slow.raw(b"\0\0\0\x05uid");
    let mut stuck = Client::tcp(addr);
    stuck.send(b"uid=a&token=never");
    let mut silent = Client::unix(&path);
    assert!(slow.is_cut() && stuck.is_cut() && silent.is_cut());
}

fn a_peer_that_leaves_makes_room(on: On) {
    let (_running, addr, _path) = start(on, Setup { max_handshakes: 1, ..Setup::default() });
    let (between, mut inside, mut last) = (Client::tcp(addr), Client::tcp(addr), Client::tcp(addr));
    inside.raw(b"\0\0");
    last.send(b"uid=a");
    drop((between, inside));
    assert_eq!(last.ask("x"), "a/: x");
}

fn sessions_do_not_count_as_logins(on: On) {
    let (_running, addr, _path) = start(on, Setup { max_handshakes: 1, ..Setup::default() });
    let mut clients: Vec<_> = (0..5).map(|_| Client::tcp(addr)).collect();
    for (i, client) in clients.iter_mut().enumerate() {
        client.send(format!("user{i}").as_bytes());
        assert_eq!(client.ask("x"), format!("user{i}/: x"));
    }
}
