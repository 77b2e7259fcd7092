//! The conformance suite of tok-core's `Transport`, over TLS over bytes in memory.

mod support;

use std::{
    io::{self, Read, Write},
    sync::LazyLock,
    task::{Context, Poll, Waker, ready},
};

use support::{Certificate, VERSIONS};
use tok_core::{
    Message, Transport,
    testkit::transport::{ByteEnd, Peer, PeerEvent, byte_pair},
    transport::ByteStream,
};
use tok_tcp::{Decoder, FRAMING, TcpTransport};
use tok_tls::{TlsStream, rustls::ClientConnection};

const LIMIT: usize = 300_000;

static CERTIFICATE: LazyLock<Certificate> = LazyLock::new(Certificate::new);

/// A client of tok-tcp's frames over TLS.
struct Client {
    end: ByteEnd,
    tls: ClientConnection,
    confirm: bool,
    decoder: Decoder,
    unread: Vec<u8>,
}

impl Client {
    fn write(&mut self, bytes: &[u8]) {
        self.tls.writer().write_all(bytes).unwrap();
        self.pump();
    }

    /// Sends what TLS has to send.
    fn pump(&mut self) {
        let mut bytes = Vec::new();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut bytes).unwrap();
        }
        self.end.put(&bytes);
    }

    /// Plain bytes; none at the end.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Vec<u8>> {
        let mut buf = [0; 4096];
        loop {
            match self.tls.reader().read(&mut buf) {
                Ok(count) => return Poll::Ready(buf[..count].to_vec()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return Poll::Ready(Vec::new()),
            }
            let count = ready!(self.end.poll_read(cx, &mut buf)).unwrap_or(0);
            if count == 0 {
                return Poll::Ready(Vec::new());
            }
            let mut bytes = &buf[..count];
            while !bytes.is_empty() {
                self.tls.read_tls(&mut bytes).unwrap();
                self.tls.process_new_packets().unwrap();
                // Mostly nothing; in the handshake, its next part.
                self.pump();
            }
        }
    }
}

impl Peer for Client {
    fn send(&mut self, message: &Message) {
        self.write(FRAMING.encode(message).bytes());
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<PeerEvent> {
        loop {
            let mut input = &self.unread[..];
            let frame = self.decoder.decode(&mut input).unwrap();
            self.unread = input.to_vec();
            match frame {
                Some(frame) if self.confirm && frame.is_empty() => self.write(&[0; 4]),
                Some(frame) => return Poll::Ready(PeerEvent::Message(Message::binary(frame))),
                None => {
                    let bytes = ready!(self.poll_read(cx));
                    if bytes.is_empty() {
                        return Poll::Ready(PeerEvent::End);
                    }
                    self.unread.extend(bytes);
                }
            }
        }
    }

    fn close(&mut self) {
        self.tls.send_close_notify();
        self.pump();
        self.end.end();
    }

    fn abort(&mut self) {
        self.end.reset();
    }

    fn answer(&mut self, _: u64) {
        self.write(&[0; 4]);
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

/// A connection of this version after its handshake.
fn pair(version: usize, confirm: bool, capacity: usize) -> (TcpTransport<TlsStream<ByteEnd>>, Client) {
    let (near, end) = byte_pair(capacity);
    let mut tls = CERTIFICATE.client(VERSIONS[version]);
    tls.set_buffer_limit(None);
    let mut client = Client { end, tls, confirm, decoder: Decoder::new(LIMIT), unread: Vec::new() };
    let stream = TlsStream::new(near, &CERTIFICATE.config()).unwrap();
    let mut transport = TcpTransport::new(stream, LIMIT, confirm);
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..100 {
        client.pump();
        assert!(transport.poll_recv(&mut cx).is_pending());
        assert!(client.poll_read(&mut cx).is_pending());
    }
    assert!(!client.tls.is_handshaking());
    (transport, client)
}

mod tls_1_3 {
    tok_core::transport_conformance!(async || super::pair(0, false, 64 * 1024), empty, limit = super::LIMIT);
}

mod tls_1_2 {
    tok_core::transport_conformance!(
        async || super::pair(1, true, 64 * 1024),
        confirms,
        limit = super::LIMIT
    );
}

/// Every read and write is small.
mod narrow {
    async fn make() -> (impl tok_core::Transport, super::Client) {
        let (transport, client) = super::pair(0, true, 500);
        client.end.accept(70);
        client.end.give(50);
        (transport, client)
    }

    tok_core::transport_conformance!(make, confirms, limit = super::LIMIT);
}

#[test]
fn what_tls_holds_back_is_not_written() {
    use tok_core::transport::Outgoing;

    let (mut transport, mut client) = pair(0, false, 64 * 1024);
    let mut cx = Context::from_waker(Waker::noop());
    assert!(transport.writer().is_none(), "senders would write in the clear");
    client.end.stall(true);
    let frame = FRAMING.encode(&Message::from("hello"));
    let accepted = transport.start_send(Outgoing::Frame(frame)).unwrap();
    assert!(transport.poll_flush(&mut cx).is_pending());
    assert_eq!(transport.written(), 0);
    client.end.stall(false);
    assert!(transport.poll_flush(&mut cx).is_ready());
    assert_eq!(transport.written(), accepted);
    let Poll::Ready(PeerEvent::Message(message)) = client.poll_recv(&mut cx) else { panic!("nothing came") };
    assert_eq!(&message.data()[..], b"hello");
}
