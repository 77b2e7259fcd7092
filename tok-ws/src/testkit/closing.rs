use std::sync::Arc;

use tok_core::{
    CloseReason,
    transport::{Outgoing, TransportError},
};

use crate::engine::Engine;

use super::support::{Conn, Got, close, frame, message, text};

pub fn the_peers_close_is_answered_with_its_code(engine: &Arc<dyn Engine>) {
    let table =
        [(close(1000, ""), Some(1000)), (close(1001, "bye"), Some(1001)), (close(4999, ""), Some(4999))];
    for (script, code) in table.into_iter().chain([(frame(0x88, b""), None), (close(1014, "x"), Some(1014))])
    {
        let mut conn = Conn::new(engine);
        conn.peer(&text("last")).peer(&script).peer(&text("behind"));
        assert_eq!(conn.recv_all(), [message("last"), Got::Close]);
        conn.send("owed");
        assert!(conn.flush());
        assert_eq!(conn.frames(), [(0x81, b"owed".to_vec())]);
        assert!(!conn.close());
        assert_eq!(conn.close_code(), code);
        assert!(conn.is_shut_down());
        conn.peer_ends();
        assert!(conn.close());
        assert_eq!(conn.raw(), b"", "one close frame and no more");
    }
}

pub fn our_close_waits_for_the_peers(engine: &Arc<dyn Engine>) {
    let mut conn = Conn::new(engine);
    conn.send("bye");
    conn.start(Outgoing::Close(CloseReason::Sso)).unwrap();
    conn.peer(&text("half a message")[..9]);
    assert!(!conn.close());
    assert_eq!(conn.frames(), [(0x81, b"bye".to_vec()), (0x88, b"\x0f\xa0sso".to_vec())]);
    assert!(!conn.is_shut_down());
    conn.peer(&text("half a message")[9..]).peer(&frame(0x89, b"p"));
    assert!(!conn.close());
    assert!(!conn.is_shut_down(), "other frames are no answer");
    conn.peer(&close(4000, ""));
    assert!(!conn.close());
    assert!(conn.is_shut_down());
    conn.peer_ends();
    assert!(conn.close());
    assert_eq!(conn.raw(), b"");
}

pub fn after_a_violation_the_stream_is_drained_to_its_end(engine: &Arc<dyn Engine>) {
    let mut conn = Conn::new(engine);
    conn.peer(&[0x81, 0x00]).peer(&[0xff; 400_000]);
    assert_eq!(conn.recv(), Some(Got::Error(CloseReason::Protocol)));
    conn.start(Outgoing::Close(CloseReason::Protocol)).unwrap();
    assert!(!conn.close());
    assert!(conn.is_shut_down());
    conn.peer(&[0xff; 400_000]).peer_ends();
    assert!(conn.close());
    assert!(conn.yields > 0, "a flood does not hold the task");
}

pub fn a_violation_that_was_not_told_yet_ends_the_wait_for_a_close(engine: &Arc<dyn Engine>) {
    let mut conn = Conn::new(engine);
    conn.peer(&text("one")).peer(&[0x81, 0x00]);
    assert_eq!(conn.recv(), Some(message("one")));
    conn.start(Outgoing::Close(CloseReason::Kicked)).unwrap();
    assert!(!conn.close());
    assert!(conn.is_shut_down());
    assert_eq!(conn.close_code(), Some(4001));
}

pub fn an_end_between_messages_is_a_close(engine: &Arc<dyn Engine>) {
    for script in [&[][..], &text("x"), &[frame(0x89, b""), text("x")].concat()] {
        let mut conn = Conn::new(engine);
        conn.peer(script).peer_ends();
        let got = conn.recv_all();
        assert_eq!(got.last(), Some(&Got::Close), "{got:?}");
        assert_eq!(got.contains(&message("x")), !script.is_empty(), "{got:?}");
        assert_eq!(conn.recv(), Some(Got::Error(CloseReason::Disconnected)));
        // The peer still reads: what the session owes it, and then the close.
        conn.send("answer");
        assert!(conn.close());
        let frames = conn.frames();
        assert_eq!(
            frames[frames.len() - 2..],
            [(0x81, b"answer".to_vec()), (0x88, [&1000_u16.to_be_bytes()[..], b"peer_closed"].concat())]
        );
    }
}

pub fn an_end_inside_a_message_is_no_close(engine: &Arc<dyn Engine>) {
    for rest in [
        &text("y")[..1],
        &text("y")[..3],
        &frame(0x01, b"y"),
        &[frame(0x01, b"y"), frame(0x89, b"")].concat(),
    ] {
        let mut conn = Conn::new(engine);
        conn.peer(&text("x")).peer(rest).peer_ends();
        let mut got = conn.recv_all();
        got.retain(|got| *got != Got::Alive);
        assert_eq!(got, [message("x"), Got::Error(CloseReason::Disconnected)]);
        assert!(conn.close());
        assert!(
            !conn.frames().iter().any(|(head, _)| *head == 0x88),
            "a close frame for a connection that broke"
        );
    }
}

pub fn nothing_follows_a_close(engine: &Arc<dyn Engine>) {
    let mut conn = Conn::new(engine);
    conn.start(Outgoing::Close(CloseReason::Kicked)).unwrap();
    for out in [Outgoing::Ping, Outgoing::Barrier(1)] {
        assert!(matches!(conn.start(out), Err(TransportError::Closed)));
    }
    conn.start(Outgoing::Close(CloseReason::Idle)).unwrap();
    // What the peer had sent before it saw the close is still read.
    conn.peer(&frame(0x89, b"p")).peer(&text("late")).peer(&close(4001, ""));
    assert_eq!(conn.recv_all(), [Got::Alive, message("late"), Got::Close]);
    assert_eq!(conn.recv(), Some(Got::Error(CloseReason::Disconnected)));
    assert!(conn.flush());
    assert_eq!(conn.close_code(), Some(4001));
}

pub fn codes_that_must_not_be_sent_are_not(engine: &Arc<dyn Engine>) {
    let mut conn = Conn::new(engine);
    conn.send("last");
    conn.start(Outgoing::Close(CloseReason::Disconnected)).unwrap();
    assert!(!conn.close());
    assert!(conn.is_shut_down(), "there is no answer to wait for");
    conn.peer_ends();
    assert!(conn.close());
    assert_eq!(conn.frames(), [(0x81, b"last".to_vec())]);
}
