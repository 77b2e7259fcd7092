use std::sync::Arc;

use tok_core::Message;

use crate::engine::Engine;

use super::support::{Conn, Got, LIMIT, bytes, frame, message, text};

pub fn sizes_come_through_whole(engine: &Arc<dyn Engine>) {
    let mut conn = Conn::new(engine);
    for len in [0, 1, 125, 126, 4096, 4097, 65_535, 65_536, LIMIT] {
        let binary = bytes(len);
        let ascii = "x".repeat(len);
        conn.peer(&frame(0x82, &binary)).peer(&text(&ascii));
        assert_eq!(conn.recv(), Some(Got::Message(Message::from(binary.clone()))), "{len}");
        assert_eq!(conn.recv(), Some(message(&ascii)), "{len}");
        assert_eq!(conn.recv(), None, "{len}");
        conn.send(binary.clone());
        conn.send(ascii.as_str());
        assert!(conn.flush());
        assert_eq!(conn.frames(), [(0x82, binary), (0x81, ascii.into_bytes())], "{len}");
    }
}

pub fn bytes_may_come_in_any_portions(engine: &Arc<dyn Engine>) {
    let long = "ä€".repeat(300);
    let script = [text("one"), frame(0x89, b"ping"), text(&long), frame(0x82, &bytes(700))].concat();
    for portion in [1, 2, 3, 5, 7, 64, 1000] {
        let mut conn = Conn::new(engine);
        conn.portion(portion);
        conn.peer(&script);
        let expected = [message("one"), Got::Alive, message(&long), Got::Message(Message::from(bytes(700)))];
        assert_eq!(conn.recv_all(), expected, "{portion}");
        assert_eq!(conn.frames(), [(0x8a, b"ping".to_vec())], "{portion}");
    }
}

pub fn fragments_are_joined_and_pings_between_them_answered(engine: &Arc<dyn Engine>) {
    let mut conn = Conn::new(engine);
    // The first and the last cut are inside a character.
    let parts = [&b"h\xc3"[..], b"\xa4", b"", b"llo \xe2\x82", b"\xac"];
    conn.peer(&frame(0x01, parts[0])).peer(&frame(0x00, parts[1]));
    assert_eq!(conn.recv(), None);
    conn.peer(&frame(0x89, b"1")).peer(&frame(0x00, parts[2])).peer(&frame(0x8a, b"?"));
    assert_eq!(conn.recv_all(), [Got::Alive, Got::Alive]);
    conn.peer(&frame(0x00, parts[3])).peer(&frame(0x80, parts[4])).peer(&text("next"));
    assert_eq!(conn.recv_all(), [message("hällo €"), message("next")]);
    assert_eq!(conn.frames(), [(0x8a, b"1".to_vec())]);
}

pub fn many_small_fragments_are_joined(engine: &Arc<dyn Engine>) {
    let mut conn = Conn::new(engine);
    let whole = bytes(LIMIT);
    for (at, part) in whole.chunks(64).enumerate() {
        conn.peer(&frame(if at == 0 { 0x02 } else { 0x00 }, part));
    }
    conn.peer(&frame(0x80, b""));
    assert_eq!(conn.recv_all(), [Got::Message(Message::from(whole))]);
}

pub fn leftover_bytes_are_decoded(engine: &Arc<dyn Engine>) {
    let mut conn = Conn::with_leftover(engine, &[text("early"), text("later")[..4].to_vec()].concat());
    assert_eq!(conn.recv_all(), [message("early")]);
    conn.peer(&text("later")[4..]);
    assert_eq!(conn.recv_all(), [message("later")]);
}

pub fn a_poll_given_up_loses_nothing(engine: &Arc<dyn Engine>) {
    let mut conn = Conn::new(engine);
    let mut got = Vec::new();
    // One byte a poll, and every poll but the last of a frame is given up.
    for byte in [text("one"), frame(0x89, b"p"), text("two"), frame(0x82, &bytes(300))].concat() {
        conn.peer(&[byte]);
        got.extend(conn.recv_all());
    }
    let expected = [message("one"), Got::Alive, message("two"), Got::Message(Message::from(bytes(300)))];
    assert_eq!(got, expected);
    assert_eq!(conn.frames(), [(0x8a, b"p".to_vec())]);
}

pub fn an_idle_connection_holds_no_engine(engine: &Arc<dyn Engine>) {
    let mut conn = Conn::new(engine);
    assert!(conn.is_idle());
    conn.peer(&text("one"));
    assert_eq!(conn.recv(), Some(message("one")));
    assert!(!conn.is_idle(), "not before the socket is known to be empty");
    assert_eq!(conn.recv(), None);
    assert!(conn.is_idle());
    conn.peer(&text("two")[..3]);
    assert_eq!(conn.recv(), None);
    assert!(!conn.is_idle(), "inside a frame");
    conn.peer(&text("two")[3..]).peer(&frame(0x01, b"th"));
    assert_eq!(conn.recv_all(), [message("two")]);
    assert!(!conn.is_idle(), "inside a message");
    conn.peer(&frame(0x80, b"ree")).peer(&frame(0x89, b""));
    assert_eq!(conn.recv_all(), [message("three"), Got::Alive]);
    assert!(conn.is_idle());
    assert_eq!(conn.frames(), [(0x8a, Vec::new())], "the answer is not dropped with the engine");
}

pub fn busy_connections_yield(engine: &Arc<dyn Engine>) {
    let mut conn = Conn::new(engine);
    for _ in 0..1000 {
        conn.peer(&text("x"));
    }
    assert_eq!(conn.recv_all().len(), 1000);
    assert!(conn.yields >= 10, "{} yields for many messages", conn.yields);
    conn.yields = 0;
    conn.portion(1);
    conn.peer(&text(&"x".repeat(1000)));
    assert_eq!(conn.recv_all().len(), 1);
    assert!(conn.yields >= 10, "{} yields for many reads", conn.yields);
}
