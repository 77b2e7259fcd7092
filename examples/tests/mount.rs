//! The ways to put `WsHandler` on a server, each in a file that shows how and tests that it works.

#[path = "mount/axum.rs"]
mod axum;
#[path = "mount/http2.rs"]
mod http2;
#[path = "mount/hyper.rs"]
mod hyper;
#[path = "mount/support.rs"]
mod support;
#[path = "mount/tower.rs"]
mod tower;
#[cfg(unix)]
#[path = "mount/unix.rs"]
mod unix;
