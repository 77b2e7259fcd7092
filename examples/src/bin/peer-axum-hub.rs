//! The hub that people write by hand today, for `cargo xtask bench` to compare with: axum, a `DashMap` of users, and an
//! mpsc channel and a second task for each connection. It serves `E`, `T` and `B`.

use std::{io, sync::Arc};

use axum::{
    Router,
    extract::{
        Query, State, WebSocketUpgrade,
        ws::{Message, WebSocket},
    },
    response::Response,
    routing::get,
};
use dashmap::DashMap;
use examples::peer::Flags;
use futures_util::{SinkExt as _, StreamExt as _};
use serde::Deserialize;
use tokio::sync::mpsc;

/// Messages that wait for one connection.
const MAX_WAITING: usize = 4096;

type Users = Arc<DashMap<String, mpsc::Sender<Message>>>;

#[derive(Deserialize)]
struct Login {
    uid: String,
}

fn main() -> io::Result<()> {
    let flags = Flags::from_env();
    flags.multi_thread()?.block_on(async {
        let listener = flags.listen().await?;
        let router = Router::new().route("/ws", get(upgrade)).with_state(Users::default());
        let listener = axum::serve::ListenerExt::tap_io(listener, |stream| {
            // Without it the peer's delayed acknowledgements set the pace.
            let _ = stream.set_nodelay(true);
        });
        axum::serve(listener, router).await
    })
}

async fn upgrade(State(users): State<Users>, Query(login): Query<Login>, ws: WebSocketUpgrade) -> Response {
    ws.on_upgrade(|socket| serve(socket, login.uid, users))
}

async fn serve(socket: WebSocket, uid: String, users: Users) {
    let (mut sink, mut stream) = socket.split();
    let (sender, mut waiting) = mpsc::channel(MAX_WAITING);
    users.insert(uid.clone(), sender.clone());
    let writer = tokio::spawn(async move {
        while let Some(message) = waiting.recv().await {
            if sink.send(message).await.is_err() {
                break;
            }
        }
    });
    while let Some(Ok(message)) = stream.next().await {
        let Message::Text(text) = &message else { continue };
        match text.as_bytes().first() {
            Some(b'B') => {
                for user in users.iter() {
                    let _ = user.try_send(message.clone());
                }
            }
            Some(b'T') => {
                let to = text[1..].split('|').next().unwrap_or_default();
                let user = users.get(to).map(|user| user.clone());
                if let Some(user) = user {
                    let _ = user.send(message.clone()).await;
                }
            }
            Some(b'E') => {
                let _ = sender.send(message).await;
            }
            _ => {}
        }
    }
    users.remove_if(&uid, |_, current| current.same_channel(&sender));
    writer.abort();
}
