use std::sync::Arc;

use tok_core::{Transport, transport::Outgoing};

use crate::engine::Engine;

use super::support::{Conn, Got, frame, message, text};

/// Starts a barrier and returns the payload of its Ping.
fn barrier(conn: &mut Conn, number: u64) -> Vec<u8> {
    conn.start(Outgoing::Barrier(number)).unwrap();
    assert!(conn.flush());
    let (head, payload) = conn.frames().pop().unwrap();
    assert_eq!(head, 0x89);
    payload
}

pub fn barriers_come_back(engine: &Arc<dyn Engine>) {
    let mut conn = Conn::new(engine);
    assert!(conn.transport.confirms());
    for number in [0, 1, u64::MAX] {
        let payload = barrier(&mut conn, number);
        conn.peer(&frame(0x8a, &payload));
        assert_eq!(conn.recv_all(), [Got::Barrier(number)]);
        conn.peer(&frame(0x8a, &payload));
        assert_eq!(conn.recv_all(), [Got::Alive], "once");
    }
}

pub fn barriers_that_were_not_sent_do_not(engine: &Arc<dyn Engine>) {
    let mut conn = Conn::new(engine);
    let payload = barrier(&mut conn, 7);
    conn.start(Outgoing::Ping).unwrap();
    assert!(conn.flush());
    assert_eq!(conn.frames(), [(0x89, Vec::new())]);
    let longer = [&payload[..], b"x"].concat();
    for wrong in [&b""[..], b"x", &8_u64.to_be_bytes(), &6_u64.to_be_bytes(), &payload[1..], &longer] {
        conn.peer(&frame(0x8a, wrong));
        assert_eq!(conn.recv_all(), [Got::Alive], "{wrong:?}");
    }
    conn.peer(&frame(0x8a, &payload));
    assert_eq!(conn.recv_all(), [Got::Barrier(7)]);
}

pub fn the_newest_of_several_barriers_answers_for_all(engine: &Arc<dyn Engine>) {
    let mut conn = Conn::new(engine);
    let first = barrier(&mut conn, 1);
    let second = barrier(&mut conn, 2);
    conn.peer(&frame(0x8a, &second)).peer(&frame(0x8a, &first));
    assert_eq!(conn.recv_all(), [Got::Barrier(2), Got::Alive]);
}

pub fn each_ping_is_answered(engine: &Arc<dyn Engine>) {
    let mut conn = Conn::new(engine);
    let payloads: Vec<_> = (0..10).map(|number| format!("payload-{number}").into_bytes()).collect();
    for payload in &payloads {
        conn.peer(&frame(0x89, payload));
    }
    assert_eq!(conn.recv_all().len(), 10);
    let expected: Vec<_> = payloads.into_iter().map(|payload| (0x8a, payload)).collect();
    assert_eq!(conn.frames(), expected, "written without a flush of the session's");
}

pub fn pings_that_nobody_reads_answers_to_stay_bounded(engine: &Arc<dyn Engine>) {
    let mut conn = Conn::new(engine);
    conn.window(0);
    for number in 0..10_000_u32 {
        conn.peer(&frame(0x89, &number.to_be_bytes()));
        assert_eq!(conn.recv(), Some(Got::Alive));
        assert_eq!(conn.recv(), None);
    }
    conn.window(usize::MAX);
    assert!(conn.flush());
    let answers = conn.frames();
    assert!(answers.len() <= 33, "{} answers", answers.len());
    assert_eq!(answers.last(), Some(&(0x8a, 9_999_u32.to_be_bytes().to_vec())), "the newest is among them");
    conn.peer(&frame(0x89, b"again"));
    assert_eq!(conn.recv_all(), [Got::Alive]);
    assert_eq!(conn.frames(), [(0x8a, b"again".to_vec())]);
}

pub fn a_held_pong_goes_out_between_the_sessions_frames(engine: &Arc<dyn Engine>) {
    let mut conn = Conn::new(engine);
    conn.window(0);
    for number in 0..100_u8 {
        conn.peer(&frame(0x89, &[number]));
    }
    assert_eq!(conn.recv_all().len(), 100);
    // The window is never so wide that the session's frames are all out.
    let mut frames = Vec::new();
    for number in 0..200 {
        conn.send(format!("{number:08}").as_str());
        conn.window(10);
        assert!(!conn.flush());
        frames.extend(conn.raw());
    }
    assert!(frames.windows(3).any(|bytes| bytes == [0x8a, 1, 99]), "the newest answer waits for ever");
}

pub fn slow_readers_get_everything_in_order(engine: &Arc<dyn Engine>) {
    let mut conn = Conn::new(engine);
    conn.window(0);
    let mut expected = Vec::new();
    for number in 0..50_u8 {
        let line = format!("{number}").repeat(40);
        conn.send(line.as_str());
        expected.push((0x81, line.into_bytes()));
        conn.peer(&frame(0x89, &[number])).peer(&text("in"));
        if number < 32 {
            expected.push((0x8a, vec![number]));
        }
        assert_eq!(conn.recv_all(), [Got::Alive, message("in")]);
    }
    expected.push((0x8a, vec![49]));
    let mut polls = 0;
    while !conn.flush() {
        conn.window(7);
        polls += 1;
    }
    assert!(polls > 100);
    assert_eq!(conn.frames(), expected);
}

pub fn written_never_passes_what_was_taken(engine: &Arc<dyn Engine>) {
    let mut conn = Conn::new(engine);
    conn.peer(&frame(0x89, b"before"));
    assert_eq!(conn.recv_all(), [Got::Alive]);
    assert_eq!(conn.transport.written(), 0);
    let taken = conn.send("x");
    assert!(conn.transport.written() < taken);
    conn.window(2);
    assert!(!conn.flush());
    assert!(conn.transport.written() < taken);
    conn.window(usize::MAX);
    assert!(conn.flush());
    assert_eq!(conn.transport.written(), taken);
    conn.peer(&frame(0x89, b"behind"));
    assert_eq!(conn.recv_all(), [Got::Alive]);
    assert_eq!(conn.transport.written(), taken);
}
