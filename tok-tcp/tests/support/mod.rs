//! A server on either runtime, and a client that blocks: what the listener tests are made of.

use std::{
    env, fs,
    future::pending,
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    path::PathBuf,
    process,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use tok_core::{
    Actor, Device, Hub, Message, Refusal, Session, async_trait,
    rt::{Smol, Tokio},
    transport::Accept,
};
use tok_tcp::{Login, Server};

/// Answers with who asked, and what; "keep" is sent to all of the user's devices as a message to keep.
pub(crate) struct Who;

#[async_trait]
impl Actor for Who {
    async fn on_receive(&self, session: &Session, message: Message) {
        let device = session.device();
        let text = message.as_text().unwrap_or("not text");
        if text == "keep" {
            session.hub().send(device.uid(), "kept").ttl(Duration::from_secs(3600)).await.unwrap();
            return;
        }
        let _ = session.send(Message::text(format!("{}/{}: {text}", device.uid(), device.id())));
    }
}

/// Whoever asks, unless the token says what to do instead.
pub(crate) async fn authenticate(login: Login) -> Result<Device, Refusal> {
    match login.token().as_deref() {
        None => login.device(),
        Some("empty") => Ok(Device::new("")),
        Some("never") => pending().await,
        Some(_) => Err(Refusal::unauthorized("bad token")),
    }
}

#[derive(Clone, Copy)]
pub(crate) enum On {
    Tokio,
    Smol,
}

/// Keeps a server running until it is dropped.
pub(crate) enum Running {
    Tokio { _runtime: tokio::runtime::Runtime },
    Smol { _tasks: Vec<smol::Task<()>> },
}

/// How the server under test differs from a default one.
#[derive(Clone, Copy)]
pub(crate) struct Setup {
    pub(crate) auth_timeout: Duration,
    pub(crate) max_handshakes: usize,
}

impl Default for Setup {
    fn default() -> Self {
        Self { auth_timeout: Duration::from_secs(30), max_handshakes: 100 }
    }
}

/// Serves on a TCP socket and a Unix socket.
pub(crate) fn start(on: On, setup: Setup) -> (Running, SocketAddr, SocketPath) {
    let path = SocketPath::new();
    match on {
        On::Tokio => {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
            let addr = runtime.block_on(async {
                let server = server(
                    Hub::builder(Who).runtime(Tokio).auth_timeout(setup.auth_timeout).build().unwrap(),
                    setup,
                );
                let tcp = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                let unix = tokio::net::UnixListener::bind(&path.0).unwrap();
                let addr = tcp.local_addr().unwrap();
                tokio::spawn(serve(server.clone(), tcp));
                tokio::spawn(serve(server, unix));
                addr
            });
            (Running::Tokio { _runtime: runtime }, addr, path)
        }
        On::Smol => smol::block_on(async {
            let server = server(
                Hub::builder(Who).runtime(Smol).auth_timeout(setup.auth_timeout).build().unwrap(),
                setup,
            );
            let tcp = smol::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let unix = smol::net::unix::UnixListener::bind(&path.0).unwrap();
            let addr = tcp.local_addr().unwrap();
            let tasks = vec![smol::spawn(serve(server.clone(), tcp)), smol::spawn(serve(server, unix))];
            (Running::Smol { _tasks: tasks }, addr, path)
        }),
    }
}

fn server(hub: Hub, setup: Setup) -> Server {
    Server::new(hub, authenticate).max_login(4096).max_handshakes(setup.max_handshakes)
}

async fn serve<L: Accept>(server: Server, listener: L) {
    server.serve(listener).await;
}

/// Where a Unix socket is, until it is dropped.
pub(crate) struct SocketPath(pub(crate) PathBuf);

impl SocketPath {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("tok-tcp-{}-{}.sock", process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Self(env::temp_dir().join(name))
    }
}

impl Drop for SocketPath {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A client. Waiting half a minute for an answer fails the test.
pub(crate) struct Client<S>(S);

const PATIENCE: Option<Duration> = Some(Duration::from_secs(30));

impl Client<TcpStream> {
    pub(crate) fn tcp(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(PATIENCE).unwrap();
        stream.set_write_timeout(PATIENCE).unwrap();
        Self(stream)
    }

    pub(crate) fn shutdown(&self) {
        self.0.shutdown(Shutdown::Write).unwrap();
    }
}

impl Client<UnixStream> {
    pub(crate) fn unix(path: &SocketPath) -> Self {
        let stream = UnixStream::connect(&path.0).unwrap();
        stream.set_read_timeout(PATIENCE).unwrap();
        stream.set_write_timeout(PATIENCE).unwrap();
        Self(stream)
    }
}

impl<S: Read + Write> Client<S> {
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    pub(crate) fn send(&mut self, payload: &[u8]) {
        self.raw(&frame(payload));
    }

    /// The next frame; `None` at the end of the stream.
    pub(crate) fn next(&mut self) -> Option<String> {
        let mut head = [0; 4];
        match self.0.read_exact(&mut head) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return None,
            Err(error) => panic!("{error}"),
        }
        let mut payload = vec![0; u32::from_be_bytes(head) as usize];
        self.0.read_exact(&mut payload).unwrap();
        Some(String::from_utf8(payload).unwrap())
    }

    /// Waits for the end of the stream, in whichever way it comes.
    pub(crate) fn is_cut(&mut self) -> bool {
        match self.0.read(&mut [0]) {
            Ok(count) => count == 0,
            Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
        }
    }

    /// Sends a message and returns the answer.
    pub(crate) fn ask(&mut self, text: &str) -> String {
        self.send(text.as_bytes());
        self.next().expect("an answer")
    }
}

pub(crate) fn frame(payload: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes().to_vec();
    frame.extend_from_slice(payload);
    frame
}
