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
            // Version 0.13.3 takes text whose last fragment is empty for whole, wherever the fragment before it ends.
            Poll::Ready(Some(Ok(message))) if message.is_text() => {
                let text = Bytes::from(message.into_payload());
                Some(if ends_in_a_character(&text) {
                    Err(EngineError::BadText)
                } else {
                    Ok(Event::Text(text))
                })
            }
            Poll::Ready(Some(Ok(message))) => Some(Ok(if message.is_binary() {
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

/// Whether text that is UTF-8 so far lacks bytes of its last character.
fn ends_in_a_character(text: &[u8]) -> bool {
    // A character has at most three bytes before its last.
    let tail = &text[text.len().saturating_sub(3)..];
    let lead = tail.iter().rposition(|byte| byte & 0xc0 != 0x80);
    lead.is_some_and(|lead| {
        let bytes = match tail[lead] {
            0xf0.. => 4,
            0xe0.. => 3,
            0xc0.. => 2,
            _ => 1,
        };
        tail.len() - lead < bytes
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cut_of_every_length_of_character_is_seen() {
        for text in ["", "a", "\u{e4}", "\u{20ac}", "\u{1f600}", "a\u{7ff}", "\u{800}b", "\u{10ffff}"] {
            for end in 0..=text.len() {
                assert_eq!(
                    ends_in_a_character(&text.as_bytes()[..end]),
                    !text.is_char_boundary(end),
                    "{text:?} {end}"
                );
            }
        }
    }
}
