use std::sync::Arc;

use tok_core::transport::Outgoing;

use crate::{Guard, engine::Engine};

use super::support::{Conn, Got, LIMIT, close, frame, text};

/// Whatever a client sends, in whatever portions, every engine gives the same and answers the same.
///
/// # Panics
/// When two differ, with the script on which they do.
pub fn engines_agree(engines: &[Arc<dyn Engine>]) {
    let mut random = Random(7);
    for round in 0..3000 {
        let mut script: Vec<u8> = (0..=random.below(6)).flat_map(|_| piece(&mut random)).collect();
        // Frames are completed, for engines may refuse text at its first wrong byte or at the end of the frame.
        let mut guard = Guard::new(LIMIT);
        let _ = guard.check(&script);
        script.resize(script.len() + guard.remaining() as usize, 0);
        let portion = [1, 3, 17, usize::MAX][random.below(4)];
        let mut first = None;
        for engine in engines {
            let outcome = run(engine, &script, portion);
            let expected = first.get_or_insert_with(|| (engine.name(), run(engine, &script, portion)));
            assert_eq!(
                outcome,
                expected.1,
                "round {round}: {} is not as {}: {script:?}",
                engine.name(),
                expected.0
            );
        }
    }
}

fn run(engine: &Arc<dyn Engine>, script: &[u8], portion: usize) -> (Vec<Got>, Vec<u8>) {
    let mut conn = Conn::new(engine);
    conn.portion(portion);
    conn.peer(script);
    let got = conn.recv_all();
    if let Some(Got::Error(reason)) = got.last() {
        conn.start(Outgoing::Close(*reason)).unwrap();
    }
    assert!(conn.flush());
    (got, conn.raw())
}

/// One or a few frames, most of them as they should be.
fn piece(random: &mut Random) -> Vec<u8> {
    let words =
        [&b""[..], b"hello", "h\u{e4}\u{20ac}\u{1f600}".as_bytes(), b"\xff", b"\xe2\x82", &[b'x'; 200]];
    let word = words[random.below(6)];
    match random.below(16) {
        0..=2 => text("hello"),
        3 => frame(0x81, word),
        4..=5 => frame(0x82, word),
        6 => frame(0x89, &word[..word.len().min(125)]),
        7 => frame(0x8a, &word[..word.len().min(125)]),
        8..=10 => {
            // A message in fragments, cut anywhere, with control frames between.
            let whole = [word, b"and more"].concat();
            let cut = random.below(whole.len());
            let kind = [0x01, 0x02][random.below(2)];
            [frame(kind, &whole[..cut]), frame(0x89, b"?"), frame(0x80, &whole[cut..])].concat()
        }
        11 => frame(0x01, b"never ended"),
        12 => close([1000, 1001, 1005, 1014, 3000, 4999, 5000][random.below(7)], "bye"),
        13 => frame(0x88, [&b""[..], b"\x03\xe8", b"\x03\xe8\xff", b"\x03"][random.below(4)]),
        14 => frame(random.below(256) as u8, word),
        _ => (0..random.below(20)).map(|_| random.below(256) as u8).collect(),
    }
}

/// A linear congruential generator: the scripts are the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}
