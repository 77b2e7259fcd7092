//! Sends every message back, on whichever engine is compiled in:
//!
//! ```console
//! $ cargo run -p tok-ws --example echo
//! ws://127.0.0.1:41733 on tokio-tungstenite
//! $ cargo run -p tok-ws --example echo --no-default-features --features tokio,tokio-websockets
//! ws://127.0.0.1:35609 on tokio-websockets
//! ```

use tok_core::{Actor, Device, Hub, Message, Refusal, Session, async_trait, error::BoxError, rt};
use tok_ws::{UpgradeHead, WsEngine, WsHandler};
use tokio::net::TcpListener;

struct Echo;

#[async_trait]
impl Actor for Echo {
    async fn on_receive(&self, session: &Session, message: Message) {
        // An error says that the session has ended, which needs no answer.
        let _ = session.send(message);
        // A client that does not read waits here.
        session.writable().await;
    }
}

/// Takes everybody at their word.
async fn authenticate(head: UpgradeHead) -> Result<Device, Refusal> {
    let uid = head.query("uid").ok_or_else(|| Refusal::bad_request("no uid"))?;
    Ok(Device::new(uid.as_ref()))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    let hub = Hub::builder(Echo).runtime(rt::Tokio).build()?;
    let handler = WsHandler::builder(hub, authenticate).build()?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("ws://{} on {}", listener.local_addr()?, WsEngine::default());
    tok_ws::serve(listener, handler).await;
    Ok(())
}
