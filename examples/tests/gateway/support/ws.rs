use std::{net::SocketAddr, time::Duration};

use futures_util::{SinkExt, StreamExt};
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{self, Message, client::IntoClientRequest, http::Request},
};

use super::within;

/// A client that speaks WebSocket, as its library does.
pub(crate) struct Ws<S = TcpStream> {
    socket: WebSocketStream<S>,
}

impl Ws {
    /// Logs in with this query.
    pub(crate) async fn login(addr: SocketAddr, query: &str) -> Self {
        Self::open(addr, &format!("/ws?{query}")).await.unwrap()
    }

    /// As [`login`](Self::login), and waits until it has taken effect.
    pub(crate) async fn settled(addr: SocketAddr, query: &str) -> Self {
        let mut client = Self::login(addr, query).await;
        client.settle().await;
        client
    }

    /// Asks for this path; the error is the status that the server answers.
    pub(crate) async fn open(addr: SocketAddr, path: &str) -> Result<Self, u16> {
        Self::request(addr, format!("ws://{addr}{path}").into_client_request().unwrap()).await
    }

    pub(crate) async fn request(addr: SocketAddr, request: Request<()>) -> Result<Self, u16> {
        let stream = within("a connection", TcpStream::connect(addr)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self::over(stream, request).await
    }

    /// The process dies, for all that the server can see: what is unread is lost, and the connection is reset.
    pub(crate) fn vanish(self) {
        SockRef::from(self.socket.get_ref()).set_linger(Some(Duration::ZERO)).unwrap();
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Ws<S> {
    /// Asks over this connection; the error is the status that the server answers.
    pub(crate) async fn over(stream: S, request: Request<()>) -> Result<Self, u16> {
        match within("the handshake", client_async(request, stream)).await {
            Ok((socket, _)) => Ok(Self { socket }),
            Err(tungstenite::Error::Http(response)) => Err(response.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    /// Waits until the login has taken effect.
    pub(crate) async fn settle(&mut self) {
        let answer = self.ask("N").await;
        assert!(answer.starts_with("+users "), "{answer}");
    }

    pub(crate) async fn send(&mut self, text: impl Into<String>) {
        self.send_message(Message::text(text.into())).await;
    }

    pub(crate) async fn send_message(&mut self, message: Message) {
        within("room to write", self.socket.send(message)).await.unwrap();
    }

    /// Sends messages in one go.
    pub(crate) async fn send_all(&mut self, messages: impl IntoIterator<Item = String>) {
        for message in messages {
            within("room to write", self.socket.feed(Message::text(message))).await.unwrap();
        }
        within("room to write", self.socket.flush()).await.unwrap();
    }

    /// The next message or close; `None` when the connection has ended.
    pub(crate) async fn next(&mut self) -> Option<Message> {
        loop {
            match within("a message", self.socket.next()).await {
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(message)) => return Some(message),
                Some(Err(_)) | None => return None,
            }
        }
    }

    /// The next message, as text.
    pub(crate) async fn recv(&mut self) -> String {
        match self.next().await {
            Some(message @ (Message::Text(_) | Message::Binary(_))) => {
                message.into_text().unwrap().to_string()
            }
            other => panic!("no message: {other:?}"),
        }
    }

    pub(crate) async fn ask(&mut self, question: impl Into<String>) -> String {
        self.send(question).await;
        self.recv().await
    }

    /// All messages until the connection closes, and the code of the close.
    pub(crate) async fn rest(&mut self) -> (Vec<String>, Option<u16>) {
        let (mut rest, mut code) = (Vec::new(), None);
        while let Some(message) = self.next().await {
            match message {
                Message::Close(close) => code = close.map(|close| close.code.into()),
                message => rest.push(message.into_text().unwrap().to_string()),
            }
        }
        (rest, code)
    }
}
