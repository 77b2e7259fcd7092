use std::sync::Arc;

use tok_core::{CloseReason, Message};

use crate::engine::Engine;

use super::support::{Conn, Got, LIMIT, bytes, frame, header, text};

const TOO_BIG: Got = Got::Error(CloseReason::TooBig);

pub fn a_message_of_the_limit_passes_and_one_more_byte_does_not(engine: &Arc<dyn Engine>) {
    let mut conn = Conn::new(engine);
    conn.peer(&frame(0x82, &bytes(LIMIT))).peer(&frame(0x82, &bytes(LIMIT + 1)));
    assert_eq!(conn.recv_all(), [Got::Message(Message::from(bytes(LIMIT))), TOO_BIG]);
}

pub fn a_header_alone_is_refused(engine: &Arc<dyn Engine>) {
    for len in [LIMIT + 1, 60 << 20, (1 << 62) + 5] {
        let mut conn = Conn::new(engine);
        // Without the mask: what tells the length is enough.
        let header = header(0x82, len);
        conn.peer(&header[..header.len() - 4]);
        assert_eq!(conn.recv_all(), [TOO_BIG], "{len}");
        assert!(conn.is_idle());
    }
}

pub fn fragments_count_together(engine: &Arc<dyn Engine>) {
    let half = bytes(LIMIT / 2);
    let mut conn = Conn::new(engine);
    conn.peer(&frame(0x02, &half)).peer(&frame(0x00, &half)).peer(&frame(0x80, b""));
    assert_eq!(conn.recv_all(), [Got::Message(Message::from([&half[..], &half[..]].concat()))]);
    conn.peer(&frame(0x02, &half)).peer(&frame(0x00, &half)).peer(&header(0x80, 1));
    assert_eq!(conn.recv_all(), [TOO_BIG]);
}

pub fn control_frames_are_not_messages(engine: &Arc<dyn Engine>) {
    let mut conn = Conn::new(engine);
    conn.peer(&frame(0x02, &bytes(LIMIT))).peer(&frame(0x89, &bytes(125))).peer(&frame(0x80, b""));
    assert_eq!(conn.recv_all(), [Got::Alive, Got::Message(Message::from(bytes(LIMIT)))]);
    assert_eq!(conn.frames(), [(0x8a, bytes(125))]);
}

pub fn empty_fragments_are_bounded(engine: &Arc<dyn Engine>) {
    let mut conn = Conn::new(engine);
    conn.peer(&frame(0x01, b""));
    for _ in 0..1000 {
        conn.peer(&frame(0x00, b""));
    }
    conn.peer(&frame(0x80, b"x")).peer(&text("y"));
    assert_eq!(conn.recv_all().len(), 2);
    conn.peer(&frame(0x01, b""));
    for _ in 0..1100 {
        conn.peer(&frame(0x00, b""));
    }
    assert_eq!(conn.recv_all(), [Got::Error(CloseReason::Protocol)]);
}
