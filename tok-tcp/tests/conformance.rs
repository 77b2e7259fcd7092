//! The conformance suite of tok-core's `Transport`, over bytes in memory.

use std::task::{Context, Poll, ready};

use tok_core::{
    Message,
    testkit::transport::{ByteEnd, Peer, PeerEvent, byte_pair},
    transport::ByteStream,
};
use tok_tcp::{Decoder, FRAMING, TcpTransport};

const LIMIT: usize = 300_000;

/// A client: frames are all that it knows.
struct Client {
    end: ByteEnd,
    confirm: bool,
    decoder: Decoder,
    unread: Vec<u8>,
}

impl Peer for Client {
    fn send(&mut self, message: &Message) {
        self.end.put(FRAMING.encode(message).bytes());
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<PeerEvent> {
        let mut buf = [0; 4096];
        loop {
            let mut input = &self.unread[..];
            let frame = self.decoder.decode(&mut input).unwrap();
            self.unread = input.to_vec();
            match frame {
                Some(frame) if self.confirm && frame.is_empty() => self.end.put(&[0; 4]),
                Some(frame) => return Poll::Ready(PeerEvent::Message(Message::binary(frame))),
                None => match ready!(self.end.poll_read(cx, &mut buf)) {
                    Ok(0) | Err(_) => return Poll::Ready(PeerEvent::End),
                    Ok(count) => self.unread.extend(&buf[..count]),
                },
            }
        }
    }

    fn close(&mut self) {
        self.end.end();
    }

    fn abort(&mut self) {
        self.end.reset();
    }

    fn answer(&mut self, _: u64) {
        self.end.put(&[0; 4]);
    }

    fn trickle(&mut self, bytes: usize) {
        self.end.trickle(bytes);
    }

    /// A big frame, byte by byte.
    fn flood(&mut self) {
        self.end.give(1);
        self.send(&Message::binary(vec![7; 100_000]));
    }
}

fn pair(confirm: bool, capacity: usize) -> (TcpTransport<ByteEnd>, Client) {
    let (near, end) = byte_pair(capacity);
    let client = Client { end, confirm, decoder: Decoder::new(LIMIT), unread: Vec::new() };
    (TcpTransport::new(near, LIMIT, confirm), client)
}

mod plain {
    tok_core::transport_conformance!(async || super::pair(false, 64 * 1024), empty, limit = super::LIMIT);
}

mod confirm {
    tok_core::transport_conformance!(async || super::pair(true, 64 * 1024), confirms, limit = super::LIMIT);
}

/// Every read and write is small.
mod narrow {
    async fn make() -> (super::TcpTransport<super::ByteEnd>, super::Client) {
        let (transport, client) = super::pair(true, 500);
        client.end.accept(70);
        client.end.give(50);
        (transport, client)
    }

    tok_core::transport_conformance!(make, confirms, limit = super::LIMIT);
}
