//! The chat: users, direct messages, rooms and who is online, on a web page and over TCP, on one hub.
//!
//! | file | what it holds |
//! |---|---|
//! | [`protocol`] | the JSON messages, both ways |
//! | `actor` | what the server does with a client's message |
//! | `room` | who is in which room |
//! | `recent` | which messages were taken already, so that one that is sent again is not delivered again |
//! | `receipts` | how many receipts are awaited, and whose give way |
//! | `presence` | tells everybody who is online |
//! | `page` | the web page's files and their headers |
//! | `cluster` | the same on two nodes |
//!
//! Anybody may log in under any name: this shows tok, not accounts. A real server proves who somebody is where
//! `authenticate` is here.

mod actor;
#[cfg(feature = "nats")]
mod cluster;
mod config;
mod page;
mod presence;
pub mod protocol;
mod receipts;
mod recent;
mod room;
mod signal;

use std::{future::Future, net::SocketAddr, time::Duration};

use axum::serve::ListenerExt;
use tok_core::{Device, Hub, HubBuilder, Message, Refusal, error::BoxError, rt};
use tok_queue::MemoryQueue;
use tok_tcp::Login;
use tok_ws::{UpgradeHead, WsHandler};
use tokio::{net::TcpListener, sync::watch};

use self::{actor::Chat, protocol::ServerMessage};

#[cfg(feature = "nats")]
pub use self::cluster::{ClusterConfig, run_cluster};
pub use self::{
    config::{Config, InvalidConfig},
    signal::stop_signal,
};

/// How long a direct message waits for a user who is away.
pub const TTL: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The longest name of a user or a room, in characters.
pub const MAX_NAME: usize = 32;

/// The longest text of a message, in characters.
pub const MAX_TEXT: usize = 4000;

/// The addresses that the chat listens on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs)]
pub struct Addresses {
    /// The web page, and the WebSocket at `/ws?uid=NAME`.
    pub web: SocketAddr,
    /// The same messages in tok-tcp's frames.
    pub tcp: SocketAddr,
}

/// Runs the chat until `shutdown` ends, then lets the sessions end in good order for at most 5 seconds. `ready` is
/// called once both listeners accept connections.
///
/// Messages wait in this process's memory: those that nobody has fetched are gone when it ends. Slow requests for the
/// page are not cut off; on the open internet a proxy in front does that.
///
/// # Errors
/// An address cannot be listened on.
pub async fn run(
    config: Config,
    ready: impl FnOnce(Addresses),
    shutdown: impl Future<Output = ()>,
) -> Result<(), BoxError> {
    let (stop, stopped) = watch::channel(false);
    let chat = Chat::new(stopped.clone());
    let hub = builder(&chat).queue(MemoryQueue::new()).build()?;
    let announcer = presence::announce(hub.clone(), chat, stopped);
    hub.runtime().spawn("presence", Box::pin(announcer));

    let web = TcpListener::bind(&config.web).await?;
    let tcp = TcpListener::bind(&config.tcp).await?;
    ready(Addresses { web: web.local_addr()?, tcp: tcp.local_addr()? });
    let tcp_server =
        tok_tcp::Server::new(hub.clone(), |login: Login| async move { authenticate(login.uid().as_deref()) });
    tokio::select! {
        result = serve_web(&hub, web) => result?,
        () = tcp_server.serve(tcp) => {}
        () = shutdown => {}
    }
    let report = hub.shutdown(Duration::from_secs(5)).await;
    // Ends the tasks that await receipts, and the announcer.
    let _ = stop.send(true);
    if report.unstored > 0 {
        return Err(format!("{} messages could not be stored", report.unstored).into());
    }
    Ok(())
}

/// Serves the page, and the WebSocket beside it.
async fn serve_web(hub: &Hub, listener: TcpListener) -> Result<(), BoxError> {
    // Without it a small answer can wait for the client's delayed acknowledgement of the one before.
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    let ws = WsHandler::builder(hub.clone(), |head: UpgradeHead| async move {
        authenticate(head.query("uid").as_deref())
    });
    axum::serve(listener, page::router().route_service("/ws", ws.build()?)).await?;
    Ok(())
}

fn builder(chat: &Chat) -> HubBuilder {
    let (opened, closed) = (chat.clone(), chat.clone());
    Hub::builder(chat.clone())
        .runtime(rt::Tokio)
        .max_sessions(1000)
        .max_rooms_per_session(32)
        // The longest text, each character escaped as two of \uXXXX, and some for the rest.
        .max_message(12 * MAX_TEXT + 4096)
        .open(move |session| opened.open(session))
        .close(move |session, _| closed.close(session))
        .bye(|_, reason| Some(Message::from(ServerMessage::bye(reason))))
}

/// Takes everybody at their word.
fn authenticate(uid: Option<&str>) -> Result<Device, Refusal> {
    let uid = uid.ok_or_else(|| Refusal::bad_request("no uid"))?;
    if is_name(uid) {
        Ok(Device::new(uid))
    } else {
        Err(Refusal::bad_request(format!(
            "a name has 1 to {MAX_NAME} characters, no control characters and no space at its ends"
        )))
    }
}

/// Whether users and rooms can be called so. Marks that turn the direction of the text around are refused, because they
/// would reach into the text beside the name. Names that look the same are not sorted out: homographs are beyond an
/// example.
fn is_name(name: &str) -> bool {
    let count = name.chars().take(MAX_NAME + 1).count();
    let cannot_be_shown =
        |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    (1..=MAX_NAME).contains(&count) && name.trim() == name && !name.contains(cannot_be_shown)
}
