use std::task::Poll;

use super::{Pair, SIZES, message, messages, poll_once, yield_once};
use crate::{
    Message, MessageKind,
    transport::{Incoming, TransportError},
};

/// Messages come in the order in which the peer sent them, each once.
pub async fn messages_arrive_in_order(pair: &mut Pair) {
    let sent = messages(50);
    for batch in sent.chunks(20) {
        batch.iter().for_each(|message| pair.peer.send(message));
        for message in batch {
            assert_eq!(pair.recv_message().await.data(), message.data());
        }
        pair.recv_nothing().await;
    }
}

/// Messages of every size come with the bytes that were sent.
pub async fn message_bytes_are_exact(pair: &mut Pair) {
    for size in SIZES {
        let sent = message(size, size);
        pair.peer.send(&sent);
        let got = pair.recv_message().await;
        assert_eq!(got.data().len(), size, "bytes of a message of {size}");
        assert!(got.data() == sent.data(), "a message of {size} bytes has others than were sent");
    }
    pair.recv_nothing().await;
}

/// A message of more than 4 KiB is no slice of a buffer that is much larger than itself, whatever was read before it or
/// after it. (Sessions copy smaller messages.)
pub async fn a_small_message_holds_no_large_buffer(pair: &mut Pair) {
    const SMALL: usize = 5000;
    for sizes in [[SMALL, 200_000], [200_000, SMALL], [SMALL, SMALL]] {
        sizes.iter().for_each(|size| pair.peer.send(&message(*size, *size)));
        let mut small = Vec::new();
        for size in sizes {
            let got = pair.recv_message().await;
            assert_eq!(got.data().len(), size);
            if size == SMALL {
                small.push(got.into_data());
            }
        }
        pair.recv_nothing().await;
        for data in small {
            let Ok(mut own) = data.try_into_mut() else {
                panic!("a message of {SMALL} bytes shares a buffer, with messages of {sizes:?} bytes")
            };
            // Room before it counts too.
            assert!(
                !own.try_reclaim(2 * SMALL),
                "a message of {SMALL} bytes holds more than three times as many, with messages of {sizes:?} bytes"
            );
        }
    }
}

/// Text is text and binary is binary, in both directions, whatever the bytes.
pub async fn kinds_are_kept(pair: &mut Pair) {
    let sent = [
        Message::text("text"),
        Message::binary("text"),
        Message::binary(vec![0xff]),
        Message::text("\u{e4}"),
    ];
    for message in &sent {
        pair.peer.send(message);
        assert_eq!(&pair.recv_message().await, message);
        pair.start_message(message);
    }
    let read: Vec<_> = pair.deliver().await.into_iter().collect();
    let kinds = read.iter().map(|event| match event {
        super::PeerEvent::Message(message) => message.kind(),
        other => panic!("the peer must read messages only, and read {other:?}"),
    });
    let expected = [MessageKind::Text, MessageKind::Binary, MessageKind::Binary, MessageKind::Text];
    assert!(kinds.eq(expected), "the peer read other kinds than {expected:?}: {read:?}");
}

/// A message of no bytes arrives, in both directions, and counts as written.
pub async fn an_empty_message_is_a_message(pair: &mut Pair) {
    let sent = [Message::binary("before"), Message::binary(""), Message::binary("after")];
    for message in &sent {
        pair.peer.send(message);
        assert_eq!(pair.recv_message().await.data(), message.data());
        let before = pair.accepted;
        assert!(
            pair.start_message(message) > before,
            "a message of no bytes adds nothing to what is to be written"
        );
    }
    super::assert_messages(&pair.deliver().await, &sent);
}

/// A poll that was given up while a message was half there loses nothing, whatever is polled in between, and with
/// whichever waker the next one comes.
pub async fn recv_is_cancel_safe(pair: &mut Pair) {
    pair.recv_nothing().await;
    pair.peer.trickle(3);
    let sent: Vec<_> = [1, 126, 5000, 2].map(|size| message(size, size)).into();
    sent.iter().for_each(|message| pair.peer.send(message));
    let mut got = Vec::new();
    for turn in 0..100_000 {
        // One poll each, not one that is seen to its end.
        match poll_once(|cx| pair.transport().poll_recv(cx)) {
            (Poll::Ready(Ok(Incoming::Message(message))), _) => got.push(message),
            (Poll::Ready(Ok(Incoming::Alive)), _) => {}
            (Poll::Ready(other), _) => panic!("messages were sent, and the transport gave {other:?}"),
            (Poll::Pending, false) => break,
            (Poll::Pending, true) => yield_once().await,
        }
        if turn % 7 == 0 {
            pair.start_message(&message(turn, 1));
            pair.flush().await;
            pair.peer_read().await;
        }
    }
    assert_eq!(got.len(), sent.len(), "messages that came of those sent");
    for (got, sent) in got.iter().zip(&sent) {
        assert!(got.data() == sent.data(), "a message of {} bytes came as {got:?}", sent.data().len());
    }
}

/// Where a message arrives in parts, [`received`](crate::Transport::received) rises with the parts and not only with the
/// whole, and it falls at no time.
pub async fn parts_of_a_message_count_as_received(pair: &mut Pair) {
    pair.peer.trickle(100);
    // Long enough for parts where a stream gives whole records, as TLS does with up to 16 KiB.
    for size in [40_000, 100_000] {
        pair.peer.send(&message(size, size));
        let mut counts = vec![pair.transport().received()];
        loop {
            let (polled, woken) = poll_once(|cx| pair.transport().poll_recv(cx));
            let received = pair.transport().received();
            let before = counts.last().copied().unwrap_or_default();
            assert!(received >= before, "{received} bytes are received, {before} were before");
            match polled {
                Poll::Ready(Ok(Incoming::Message(_))) => break,
                Poll::Ready(Ok(Incoming::Alive)) => {}
                Poll::Ready(other) => panic!("a message was sent, and the transport gave {other:?}"),
                Poll::Pending => {
                    assert!(woken, "a message was sent, and the transport waits");
                    yield_once().await;
                }
            }
            counts.push(received);
        }
        // A message that comes with the first polls has no parts.
        if let [first, .., last] = counts[..]
            && counts.len() > 4
        {
            assert!(last > first, "{} polls read parts of a message, and none of them counts", counts.len());
        }
    }
}

/// After everything that the peer sent before its close, the close is [`Incoming::Close`], and later polls give
/// nothing but an end.
pub async fn peer_close_is_reported_as_close_and_nothing_follows(pair: &mut Pair) {
    let sent = messages(3);
    sent.iter().for_each(|message| pair.peer.send(message));
    pair.peer.close();
    for message in &sent {
        assert_eq!(pair.recv_message().await.data(), message.data());
    }
    let close = pair.recv().await;
    assert!(
        matches!(close, Some(Ok(Incoming::Close))),
        "the peer closed in good order, and the transport gave {close:?}"
    );
    for _ in 0..3 {
        let after = pair.recv_any().await;
        assert!(
            matches!(after, None | Some(Ok(Incoming::Close) | Err(_))),
            "after the peer's close the transport gave {after:?}"
        );
    }
}

/// A connection that breaks is an error, and not a close in good order.
pub async fn broken_connection_is_an_error(pair: &mut Pair) {
    pair.peer.send(&message(1, 1));
    pair.recv_message().await;
    pair.recv_nothing().await;
    pair.peer.abort();
    let got = pair.recv().await;
    assert!(matches!(got, Some(Err(_))), "the connection broke, and the transport gave {got:?}");
}

/// A message of exactly the limit passes, one byte more is [`TransportError::TooBig`] with the limit.
pub async fn too_big_is_refused_with_the_limit_inclusive(pair: &mut Pair) {
    let limit = pair.limit.expect("the limit is given with the pair");
    for size in [limit, limit - 1, limit] {
        pair.peer.send(&message(size, size));
        assert_eq!(pair.recv_message().await.data().len(), size);
    }
    pair.peer.send(&message(0, limit + 1));
    match pair.recv().await {
        Some(Err(TransportError::TooBig { limit: told })) => {
            assert_eq!(told, limit, "the limit that the error tells");
        }
        other => panic!("a message is one byte over the limit of {limit}, and the transport gave {other:?}"),
    }
}
