use std::sync::Arc;

use tok_core::{CloseReason, transport::Outgoing};

use crate::engine::Engine;

use super::support::{Conn, Got, LIMIT, bytes, close, frame, header, message, text};

pub fn each_gets_its_code(engine: &Arc<dyn Engine>) {
    use CloseReason::{BadText, Protocol, TooBig};
    let table: Vec<(&str, CloseReason, Vec<u8>)> = vec![
        ("unmasked", Protocol, vec![0x81, 2, b'h', b'i']),
        ("unmasked and empty", Protocol, vec![0x81, 0]),
        ("unmasked close", Protocol, vec![0x88, 0]),
        ("reserved bit 1", Protocol, frame(0xc1, b"x")),
        ("reserved bit 2", Protocol, frame(0xa1, b"x")),
        ("reserved bit 3", Protocol, frame(0x91, b"x")),
        ("reserved bit on a ping", Protocol, frame(0xc9, b"x")),
        ("reserved data opcode", Protocol, frame(0x83, b"x")),
        ("last reserved data opcode", Protocol, frame(0x87, b"x")),
        ("reserved control opcode", Protocol, frame(0x8b, b"x")),
        ("last reserved control opcode", Protocol, frame(0x8f, b"x")),
        ("ping over 125 bytes", Protocol, frame(0x89, &bytes(126))),
        ("pong over 125 bytes", Protocol, frame(0x8a, &bytes(126))),
        ("close over 125 bytes", Protocol, close(1000, &"x".repeat(124))),
        ("fragmented ping", Protocol, frame(0x09, b"x")),
        ("fragmented close", Protocol, frame(0x08, b"")),
        ("continuation of nothing", Protocol, frame(0x80, b"x")),
        ("open continuation of nothing", Protocol, frame(0x00, b"x")),
        ("text inside a message", Protocol, [frame(0x01, b"x"), frame(0x81, b"y")].concat()),
        ("binary inside a message", Protocol, [frame(0x01, b"x"), frame(0x02, b"y")].concat()),
        ("16-bit length of a short one", Protocol, vec![0x82, 0xfe, 0, 125, 0, 0, 0, 0]),
        ("64-bit length of a 16-bit one", Protocol, vec![0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff]),
        ("length over 63 bits", Protocol, vec![0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0]),
        ("close of one byte", Protocol, frame(0x88, b"x")),
        ("close 0", Protocol, close(0, "")),
        ("close 999", Protocol, close(999, "")),
        ("close 1004", Protocol, close(1004, "")),
        ("close 1005", Protocol, close(1005, "")),
        ("close 1006", Protocol, close(1006, "x")),
        ("close 1015", Protocol, close(1015, "")),
        ("close 2999", Protocol, close(2999, "")),
        ("close 5000", Protocol, close(5000, "")),
        ("close with a reason that is not UTF-8", BadText, frame(0x88, b"\x03\xe8\xff")),
        ("text that is not UTF-8", BadText, frame(0x81, b"\xc3\x28")),
        ("text that ends in a character", BadText, frame(0x81, b"a\xe2\x82")),
        ("a surrogate", BadText, frame(0x81, b"\xed\xa0\x80")),
        ("overlong", BadText, frame(0x81, b"\xc0\xaf")),
        ("fragments that are not UTF-8", BadText, [frame(0x01, b"a\xe2"), frame(0x80, b"b")].concat()),
        (
            "fragments that end in a character, the last empty",
            BadText,
            [frame(0x01, b"a\xe2"), frame(0x80, b"")].concat(),
        ),
        ("over the limit", TooBig, header(0x82, LIMIT + 1)),
        ("over the limit in fragments", TooBig, [frame(0x01, b"x"), header(0x80, LIMIT)].concat()),
    ];
    for (what, reason, script) in table {
        for portion in [usize::MAX, 1] {
            let mut conn = Conn::new(engine);
            conn.portion(portion);
            conn.peer(&script).peer(&text("after it nothing counts"));
            assert_eq!(conn.recv_all(), [Got::Error(reason)], "{what}");
            conn.start(Outgoing::Close(reason)).unwrap();
            assert!(!conn.close(), "{what}: not before the peer ends");
            assert_eq!(conn.close_code(), Some(reason.code()), "{what}");
            conn.peer_ends();
            assert!(conn.close(), "{what}");
        }
    }
}

pub fn what_came_before_is_delivered(engine: &Arc<dyn Engine>) {
    let mut conn = Conn::new(engine);
    conn.peer(&[text("one"), frame(0x89, b"p"), text("two"), vec![0x81, 0x00], text("three")].concat());
    let expected = [message("one"), Got::Alive, message("two"), Got::Error(CloseReason::Protocol)];
    assert_eq!(conn.recv_all(), expected);
    conn.start(Outgoing::Close(CloseReason::Protocol)).unwrap();
    assert!(conn.flush());
    let frames = conn.frames();
    assert_eq!(frames[0], (0x8a, b"p".to_vec()));
    assert_eq!((frames.len(), frames[1].0), (2, 0x88));
}
