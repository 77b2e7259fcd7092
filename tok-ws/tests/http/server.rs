//! A server on loopback that echoes.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use tok_core::{Actor, Device, Hub, Message, Refusal, Session, async_trait, rt::Tokio};
use tok_ws::{UpgradeHead, WsHandler, WsHandlerBuilder};
use tokio::{net::TcpListener, task::JoinHandle};

pub(crate) struct Echo;

#[async_trait]
impl Actor for Echo {
    async fn on_receive(&self, session: &Session, message: Message) {
        let _ = session.send(message);
    }
}

pub(crate) fn hub() -> Hub {
    Hub::builder(Echo).runtime(Tokio).max_message(70_000).build().unwrap()
}

pub(crate) fn builder(hub: Hub) -> WsHandlerBuilder {
    WsHandler::builder(hub, |head: UpgradeHead| async move {
        match head.query("uid").as_deref() {
            None => Err(Refusal::bad_request("no uid")),
            Some("mallory") => Err(Refusal::unauthorized("not you")),
            Some(uid) => Ok(Device::new(uid)),
        }
    })
}

pub(crate) struct Server {
    pub(crate) addr: SocketAddr,
    pub(crate) task: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start(builder: WsHandlerBuilder) -> Self {
        let handler = builder.build().unwrap();
        let listener = listener().await;
        let addr = listener.local_addr().unwrap();
        Self { addr, task: tokio::spawn(tok_ws::serve(listener, handler)) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) async fn listener() -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap()
}

/// Bounds a wait, so that what never comes is a failure and not a test that hangs.
pub(crate) async fn within<F: Future>(wait: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(60), wait).await.expect("took too long")
}
