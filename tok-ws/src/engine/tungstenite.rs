use std::{
    pin::{Pin, pin},
    task::Poll,
};

use bytes::Bytes;
use futures_core::Stream;
use tungstenite::{Error, Message, protocol::WebSocketConfig};

use super::{
    Decoder, DecoderConfig, EngineError, Event,
    pipe::{Pipe, poll_once},
};

/// A wrapper of tungstenite's over a [`Pipe`].
pub(super) trait Socket: Stream<Item = Result<Message, Error>> + Send + Unpin {
    fn pipe(&mut self) -> &mut Pipe;
}

/// The decoder over either wrapper. It is `None` if the wrapper could not be made, which none of them does.
pub(super) struct Tungstenite<W>(pub(super) Option<W>);

/// tungstenite's defaults take 128 KiB to read and let the write buffer grow without a bound.
pub(super) fn config(config: &DecoderConfig) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(config.read_buffer)
        .write_buffer_size(0)
        .max_write_buffer_size(64 * 1024)
        .max_message_size(Some(config.max_message))
        .max_frame_size(Some(config.max_message.max(MAX_CONTROL)))
}

/// Control frames carry up to 125 bytes whatever the limit on messages.
const MAX_CONTROL: usize = 125;

/// What a future gives at its first poll, which is all that constructors need that are `async` for form's sake.
pub(super) fn at_once<F: Future>(future: F) -> Option<F::Output> {
    let future = pin!(future);
    match poll_once(|cx| future.poll(cx)) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

impl<W: Socket> Decoder for Tungstenite<W> {
    fn feed(&mut self, bytes: &[u8]) {
        if let Some(socket) = &mut self.0 {
            socket.pipe().feed(bytes);
        }
    }

    fn next(&mut self) -> Option<Result<Event, EngineError>> {
        let Some(socket) = &mut self.0 else {
            return Some(Err(EngineError::Protocol));
        };
        // A Pong is written by the poll after the one that gives the Ping: polling until `Pending` brings it out.
        match poll_once(|cx| Pin::new(socket).poll_next(cx)) {
            Poll::Pending | Poll::Ready(None) => None,
            Poll::Ready(Some(Ok(message))) => Some(Ok(match message {
                Message::Text(text) => Event::Text(text.into()),
                Message::Binary(data) => Event::Binary(data),
                Message::Ping(_) => Event::Ping,
                Message::Pong(data) => Event::Pong(data),
                Message::Close(_) => Event::Close,
                // Only ever written, never read.
                Message::Frame(_) => return Some(Err(EngineError::Protocol)),
            })),
            Poll::Ready(Some(Err(error))) => Some(Err(match error {
                Error::Utf8(_) => EngineError::BadText,
                Error::Capacity(_) => EngineError::TooBig,
                _ => EngineError::Protocol,
            })),
        }
    }

    fn take_output(&mut self) -> Bytes {
        self.0.as_mut().map(|socket| socket.pipe().take_output()).unwrap_or_default()
    }
}
