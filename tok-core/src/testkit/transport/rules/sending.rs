use super::{Pair, SIZES, assert_messages, message, messages};
use crate::{CloseReason, transport::Outgoing};

/// What is sent reaches the peer whole, once and in order, however it was written.
pub async fn frames_go_out_whole_and_in_order(pair: &mut Pair) {
    // One flush for all, with the peer reading in between.
    let sizes = SIZES.into_iter().rev().chain(SIZES);
    let sent: Vec<_> = sizes.enumerate().map(|(index, size)| message(index, size)).collect();
    for message in &sent {
        pair.start_message(message);
    }
    assert_messages(&pair.deliver().await, &sent);
    // A flush for each.
    for message in messages(20) {
        pair.start_message(&message);
        assert_messages(&pair.deliver().await, &[message]);
    }
}

/// `start_send` returns a total, which rises with every message whatever has been written in between.
pub async fn accepted_counts_rise(pair: &mut Pair) {
    assert_eq!(pair.transport().written(), 0, "bytes are written of a fresh connection");
    for size in [300, 1, 200, 2] {
        let before = pair.accepted;
        let accepted = pair.start_message(&message(size, size));
        assert!(accepted > before, "{accepted} bytes are taken after one message more, {before} before");
        pair.deliver().await;
    }
}

/// `written` falls at no time, and is at most what `start_send` returned last.
pub async fn written_never_passes_accepted(pair: &mut Pair) {
    pair.assert_written_within_accepted();
    let mut last = 0;
    for round in 0..4 {
        for size in SIZES {
            pair.start_message(&message(size, size));
            pair.assert_written_within_accepted();
        }
        // What the transport sends of its own accord is not the session's.
        pair.peer.send(&message(round, 10));
        pair.recv_message().await;
        for _ in 0..1_000_000 {
            let flushed = pair.flush().await;
            pair.assert_written_within_accepted();
            let written = pair.transport().written();
            assert!(written >= last, "{written} bytes are written, {last} were before");
            last = written;
            pair.peer_read().await;
            if flushed {
                break;
            }
        }
    }
}

/// When a flush is ready, everything that was taken is written.
pub async fn written_reaches_accepted_after_flush(pair: &mut Pair) {
    for size in SIZES {
        let accepted = pair.start_message(&message(size, size));
        pair.deliver().await;
        assert_eq!(pair.transport().written(), accepted, "bytes written after a flush that was ready");
    }
}

/// A flush waits for a peer that does not read, with the rest not counted as written, and goes on when it reads.
pub async fn flush_is_pending_while_the_peer_does_not_read(pair: &mut Pair) {
    let sent = pair.fill().await;
    for _ in 0..3 {
        assert!(!pair.flush().await, "a flush is ready, and the peer has not read more");
    }
    let (written, accepted) = (pair.transport().written(), pair.accepted);
    assert!(written < accepted, "{written} bytes of {accepted} are written while a flush is pending");
    assert_messages(&pair.deliver().await, &sent);
    assert_eq!(pair.transport().written(), accepted, "bytes written when the peer has read all");
}

/// A peer that does not read is still heard, and one that is heard does not disturb what is being written.
pub async fn both_directions_flow_at_once(pair: &mut Pair) {
    let sent = pair.fill().await;
    for message in messages(20) {
        pair.peer.send(&message);
        assert_eq!(pair.recv_message().await.data(), message.data());
        assert!(!pair.flush().await, "a flush is ready, and the peer has not read");
    }
    assert_messages(&pair.deliver().await, &sent);
}

/// Frames written through the [`writer`](crate::Transport::writer), if there is one, go out between those before and
/// those after, and do not count; the transport rests when it has written all it took, and not once it closes.
pub async fn direct_writes_keep_their_place(pair: &mut Pair) {
    let Some(writer) = pair.transport().writer() else { return };
    for (number, size) in SIZES.into_iter().enumerate() {
        let taken = message(number, size);
        pair.start_message(&taken);
        assert!(!pair.transport().is_at_rest(), "it rests, and has not written what it took");
        assert_messages(&pair.deliver().await, &[taken]);
        assert!(pair.transport().is_at_rest(), "it does not rest, and has written all it took");

        let direct = message(number + 100, size);
        let frame = pair.transport().framing().encode(&direct);
        let len = frame.bytes().len();
        let written = writer.write_now(std::slice::from_ref(&frame)).expect("a direct write must succeed");
        assert!(written <= len, "{written} bytes of {len} are written");
        pair.assert_written_within_accepted();
        if written < len {
            pair.start(Outgoing::Rest(frame.bytes().slice(written..)));
        }
        assert_messages(&pair.deliver().await, &[direct]);
    }
    pair.start(Outgoing::Close(CloseReason::Kicked));
    pair.flush().await;
    assert!(!pair.transport().is_at_rest(), "it rests, and is closing");
}
