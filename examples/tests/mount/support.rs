//! A hub that answers everybody with their own name, and a client of another family.

use std::{future::Future, net::Ipv4Addr, time::Duration};

use futures_util::{SinkExt, StreamExt};
use tok_core::{Actor, Device, Hub, Message, Refusal, Session, async_trait, rt::Tokio};
use tok_ws::UpgradeHead;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite};

/// Only a test that fails takes so long.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) async fn patiently<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

struct Greeter;

#[async_trait]
impl Actor for Greeter {
    async fn on_receive(&self, session: &Session, message: Message) {
        let text = String::from_utf8_lossy(message.data()).into_owned();
        let _ = session.send(format!("{}: {text}", session.device().uid()));
    }
}

pub(crate) fn hub() -> Hub {
    Hub::builder(Greeter).runtime(Tokio).build().unwrap()
}

/// Takes the name from the query, as it stands there.
pub(crate) async fn by_query(head: UpgradeHead) -> Result<Device, Refusal> {
    let uid = head.query("uid").ok_or_else(|| Refusal::bad_request("no uid"))?;
    Ok(Device::new(uid.as_ref()))
}

pub(crate) async fn listener() -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap()
}

pub(crate) async fn connect(url: impl AsRef<str>) -> WebSocketStream<MaybeTlsStream<TcpStream>> {
    patiently("the handshake", connect_async(url.as_ref())).await.unwrap().0
}

/// The answer to a message.
pub(crate) async fn ask<S: AsyncRead + AsyncWrite + Unpin>(
    ws: &mut WebSocketStream<S>,
    text: &str,
) -> String {
    ws.send(tungstenite::Message::text(text)).await.unwrap();
    let answer = async {
        loop {
            if let tungstenite::Message::Text(text) = ws.next().await.unwrap().unwrap() {
                return text.to_string();
            }
        }
    };
    patiently("an answer", answer).await
}

/// The status with which a server refuses a WebSocket.
pub(crate) fn status<T: std::fmt::Debug>(refused: Result<T, tungstenite::Error>) -> u16 {
    match refused {
        Err(tungstenite::Error::Http(response)) => response.status().as_u16(),
        other => panic!("not refused with a status: {other:?}"),
    }
}
