//! The handler and the server over loopback, with a real hub and clients of somebody else's.
#![cfg(all(
    feature = "tokio",
    any(feature = "tokio-tungstenite", feature = "async-tungstenite", feature = "tokio-websockets")
))]

mod end_to_end;
mod half_close;
mod handshake;
#[cfg(feature = "http2")]
mod http2;
mod server;
