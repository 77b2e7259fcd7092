//! The chat's server in this process, and its clients.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    time::Duration,
};

use examples::chat::{
    self, Addresses, Config,
    protocol::{ClientMessage, ServerMessage},
};
use futures_util::{SinkExt, StreamExt};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::oneshot,
    task::JoinHandle,
};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};

/// Only a test that fails takes so long.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) async fn patiently<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

pub(crate) struct Server {
    pub(crate) addresses: Addresses,
    stop: oneshot::Sender<()>,
    running: JoinHandle<Result<(), String>>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        let (stop, stopped) = oneshot::channel();
        let (ready, addresses) = oneshot::channel();
        let config = Config { web: "127.0.0.1:0".into(), tcp: "127.0.0.1:0".into() };
        let running = tokio::spawn(async move {
            let ready = |addresses| ready.send(addresses).unwrap();
            let stopped = async { drop(stopped.await) };
            chat::run(config, ready, stopped).await.map_err(|error| error.to_string())
        });
        let addresses = patiently("the server", addresses).await.unwrap();
        Self { addresses, stop, running }
    }

    /// Ends the server. It would wait for clients that do not read its goodbye, so they end first.
    pub(crate) async fn stop(self, clients: impl Sized) {
        drop(clients);
        self.stop.send(()).unwrap();
        patiently("the end of the server", self.running).await.unwrap().unwrap();
    }

    /// Logs in and waits until the login has taken effect.
    pub(crate) async fn login(&self, name: &str) -> Client {
        Client::login(&self.ws_url(name)).await
    }

    pub(crate) fn ws_url(&self, name: &str) -> String {
        format!("ws://{}/ws?uid={name}", self.addresses.web)
    }

    /// The head and the body of an answer.
    pub(crate) async fn get(&self, path: &str) -> (String, String) {
        let mut stream = TcpStream::connect(self.addresses.web).await.unwrap();
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.addresses.web);
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        patiently("an answer", stream.read_to_string(&mut answer)).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_ascii_lowercase(), body.to_owned())
    }
}

pub(crate) struct Client {
    ws: WebSocketStream<MaybeTlsStream<TcpStream>>,
    cids: usize,
    seen: Presence,
}

/// What a client has been told of users and rooms.
#[derive(Debug, Default)]
struct Presence {
    users: BTreeSet<String>,
    rooms: BTreeMap<String, usize>,
    members: BTreeMap<String, (Vec<String>, usize)>,
}

impl Presence {
    /// Takes in a message; whether it was about this.
    fn update(&mut self, message: &ServerMessage) -> bool {
        match message.clone() {
            ServerMessage::Presence { users, rooms } => {
                self.users = users.into_iter().collect();
                self.rooms = rooms.into_iter().map(|room| (room.name, room.members)).collect();
            }
            ServerMessage::Changes { online, offline, rooms } => {
                self.users.extend(online);
                self.users.retain(|user| !offline.contains(user));
                self.rooms.extend(rooms.into_iter().map(|room| (room.name, room.members)));
                self.rooms.retain(|_, members| *members > 0);
            }
            ServerMessage::Members { room, names, count } => {
                self.members.insert(room, (names, count));
            }
            _ => return false,
        }
        true
    }
}

impl Client {
    /// Logs in and waits until the login has taken effect.
    pub(crate) async fn login(url: &str) -> Self {
        let (ws, _) = connect_async(url).await.unwrap();
        let mut client = Self { ws, cids: 0, seen: Presence::default() };
        client.until("the welcome", |message| matches!(message, ServerMessage::Welcome { .. })).await;
        client
    }

    pub(crate) async fn send(&mut self, message: &ClientMessage) {
        self.send_text(&serde_json::to_string(message).unwrap()).await;
    }

    pub(crate) async fn send_text(&mut self, text: &str) {
        self.ws.send(Message::text(text)).await.unwrap();
    }

    pub(crate) async fn write(&mut self, to: &str, text: &str) -> String {
        self.cids += 1;
        let cid = format!("c{}", self.cids);
        self.send(&direct(to, text, &cid)).await;
        cid
    }

    pub(crate) async fn join(&mut self, room: &str) {
        self.send(&ClientMessage::Join { room: room.into() }).await;
    }

    /// The next message, those about users and rooms aside.
    pub(crate) async fn next(&mut self) -> ServerMessage {
        self.until("a message", |_| true).await
    }

    /// The next message that is wanted; those before it are skipped, and so are those about users and rooms.
    pub(crate) async fn until(
        &mut self,
        what: &str,
        wanted: impl Fn(&ServerMessage) -> bool,
    ) -> ServerMessage {
        let wanted = async {
            loop {
                let message = self.read().await;
                if !self.seen.update(&message) && wanted(&message) {
                    return message;
                }
            }
        };
        patiently(what, wanted).await
    }

    async fn read(&mut self) -> ServerMessage {
        loop {
            if let Message::Text(text) = self.ws.next().await.unwrap().unwrap() {
                return serde_json::from_str(&text).unwrap();
            }
        }
    }

    /// Reads until what has been seen of users and rooms is as expected. Returns the bytes of what was read about them.
    async fn until_seen(&mut self, what: &str, expected: impl Fn(&Presence) -> bool) -> usize {
        let mut bytes = 0;
        let reading = async {
            while !expected(&self.seen) {
                let message = self.read().await;
                if self.seen.update(&message) {
                    bytes += serde_json::to_string(&message).unwrap().len();
                }
            }
        };
        patiently(what, reading).await;
        bytes
    }

    pub(crate) async fn until_online(&mut self, names: &[&str]) {
        self.until_seen(&format!("{names:?} to be online"), |seen| seen.users.iter().eq(names)).await;
    }

    /// Waits until exactly these rooms exist, each with this number of members.
    pub(crate) async fn until_rooms(&mut self, rooms: &[(&str, usize)]) -> usize {
        let expected: BTreeMap<String, usize> =
            rooms.iter().map(|(name, members)| ((*name).to_owned(), *members)).collect();
        self.until_seen(&format!("the rooms {rooms:?}"), |seen| seen.rooms == expected).await
    }

    /// Waits until a room has so many members. Returns how many rooms are listed, and how many of the members by name.
    pub(crate) async fn until_size(&mut self, room: &str, members: usize) -> (usize, usize) {
        let what = format!("{members} members of {room}");
        self.until_seen(&what, |seen| {
            let is_told = seen.members.get(room).is_some_and(|(_, count)| *count == members);
            seen.rooms.get(room) == Some(&members) && is_told
        })
        .await;
        (self.seen.rooms.len(), self.seen.members[room].0.len())
    }

    /// Waits until these users are in a room that the client is in.
    pub(crate) async fn until_members(&mut self, room: &str, names: &[&str]) {
        let what = format!("{names:?} to be in {room}");
        self.until_seen(&what, |seen| seen.members.get(room).is_some_and(|(members, _)| members == names))
            .await;
    }

    /// The goodbye and the close code with which the server ends the connection.
    pub(crate) async fn end(mut self) -> (ServerMessage, u16) {
        let bye = self.until("a goodbye", |message| matches!(message, ServerMessage::Bye { .. })).await;
        let close = async {
            loop {
                if let Message::Close(Some(frame)) = self.ws.next().await.unwrap().unwrap() {
                    return frame.code.into();
                }
            }
        };
        (bye, patiently("a close", close).await)
    }

    /// Reads on in the background, as clients do: only who reads answers Pings.
    pub(crate) fn read_on(mut self) -> Reading {
        let (stop, mut stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            tokio::select! {
                _ = &mut stopped => {}
                () = async { while let Some(Ok(_)) = self.ws.next().await {} } => {}
            }
            self
        });
        Reading { stop, task }
    }

    pub(crate) async fn close(mut self) {
        self.ws.close(None).await.unwrap();
        patiently("the end", async { while let Some(Ok(_)) = self.ws.next().await {} }).await;
    }
}

pub(crate) struct Reading {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Client>,
}

impl Reading {
    pub(crate) async fn stop(self) -> Client {
        // Whoever has ended already need not be told.
        let _ = self.stop.send(());
        self.task.await.unwrap()
    }
}

pub(crate) fn direct(to: &str, text: &str, cid: &str) -> ClientMessage {
    ClientMessage::Direct { to: to.into(), text: text.into(), cid: cid.into() }
}

pub(crate) fn sent(cid: &str) -> ServerMessage {
    ServerMessage::Sent { cid: cid.into() }
}

pub(crate) fn delivered(cid: &str) -> ServerMessage {
    ServerMessage::Delivered { cid: cid.into() }
}

pub(crate) fn text_of(message: ServerMessage) -> (String, String) {
    match message {
        ServerMessage::Direct { from, text, .. } | ServerMessage::Room { from, text, .. } => (from, text),
        other => panic!("{other:?} has no text"),
    }
}

pub(crate) fn said(from: &str, text: &str) -> (String, String) {
    (from.into(), text.into())
}

/// A client that speaks tok-tcp's frames and answers the empty ones.
pub(crate) struct TcpClient(TcpStream);

impl TcpClient {
    pub(crate) async fn login(addresses: Addresses, login: &str) -> Self {
        let mut client = Self(TcpStream::connect(addresses.tcp).await.unwrap());
        client.frame(login.as_bytes()).await;
        assert!(matches!(client.next().await, ServerMessage::Welcome { name } if name == "bob"));
        client
    }

    pub(crate) async fn frame(&mut self, data: &[u8]) {
        let mut frame = u32::try_from(data.len()).unwrap().to_be_bytes().to_vec();
        frame.extend_from_slice(data);
        self.0.write_all(&frame).await.unwrap();
    }

    pub(crate) async fn send(&mut self, message: &ClientMessage) {
        self.frame(&serde_json::to_vec(message).unwrap()).await;
    }

    pub(crate) async fn next(&mut self) -> ServerMessage {
        let next = async {
            loop {
                let len = self.0.read_u32().await.unwrap();
                let mut data = vec![0; len as usize];
                self.0.read_exact(&mut data).await.unwrap();
                if data.is_empty() {
                    self.frame(&[]).await;
                    continue;
                }
                let message = serde_json::from_slice(&data).unwrap();
                if !Presence::default().update(&message) {
                    return message;
                }
            }
        };
        patiently("a frame", next).await
    }
}
