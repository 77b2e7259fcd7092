use std::{pin::Pin, task::Poll};

use bytes::Bytes;
use futures_core::Stream;
use tokio_websockets::{Error, Limits, ServerBuilder, WebSocketStream, proto::ProtocolError};

use super::{
    Decoder, DecoderConfig, Engine, EngineError, Event,
    pipe::{Pipe, poll_once},
};

pub(super) struct TokioWebsockets;

impl Engine for TokioWebsockets {
    fn name(&self) -> &str {
        "tokio-websockets"
    }

    fn decoder(&self, config: &DecoderConfig) -> Box<dyn Decoder> {
        // Control frames carry up to 125 bytes whatever the limit on messages.
        let limits = Limits::default().max_payload_len(Some(config.max_message.max(125)));
        Box::new(Socket(ServerBuilder::new().limits(limits).serve(Pipe::default())))
    }
}

struct Socket(WebSocketStream<Pipe>);

impl Decoder for Socket {
    fn feed(&mut self, bytes: &[u8]) {
        self.0.get_mut().feed(bytes);
    }

    fn next(&mut self) -> Option<Result<Event, EngineError>> {
        // A Pong is written by the poll after the one that gives the Ping: polling until `Pending` brings it out.
        match poll_once(|cx| Pin::new(&mut self.0).poll_next(cx)) {
            Poll::Pending | Poll::Ready(None) => None,
            Poll::Ready(Some(Ok(message))) => Some(Ok(if message.is_text() {
                Event::Text(message.into_payload().into())
            } else if message.is_binary() {
                Event::Binary(message.into_payload().into())
            } else if message.is_ping() {
                Event::Ping
            } else if message.is_pong() {
                Event::Pong(message.into_payload().into())
            } else {
                Event::Close
            })),
            Poll::Ready(Some(Err(error))) => Some(Err(match error {
                Error::Protocol(ProtocolError::InvalidUtf8) => EngineError::BadText,
                Error::PayloadTooLong { .. } => EngineError::TooBig,
                _ => EngineError::Protocol,
            })),
        }
    }

    fn take_output(&mut self) -> Bytes {
        self.0.get_mut().take_output()
    }
}
