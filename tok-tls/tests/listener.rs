//! Real connections: handshakes that succeed, and those that do not.

mod support;

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::mpsc,
    thread,
    time::Duration,
};

use support::{Certificate, VERSIONS};
use tok_core::{
    Actor, Hub, Message, Session, Sso, async_trait,
    rt::{self, Runtime},
    transport::Accept,
};
use tok_tcp::{Login, Server};
use tok_tls::{
    TlsConfig, TlsConfigError, TlsListener,
    rustls::{ClientConnection, StreamOwned, SupportedProtocolVersion},
};

/// Much longer than anything takes.
const GUARD: Duration = Duration::from_secs(30);

struct Echo;

#[async_trait]
impl Actor for Echo {
    async fn on_receive(&self, session: &Session, message: Message) {
        let _ = session.send(message);
    }
}

/// Serves for as long as the process lives. Few handshakes fit, and none may take long.
async fn serve(runtime: impl Runtime, listener: impl Accept, config: TlsConfig) {
    let hub = Hub::builder(Echo)
        .runtime(runtime)
        .sso(Sso::Off)
        .auth_timeout(Duration::from_millis(300))
        .build()
        .unwrap();
    let server = Server::new(hub, |login: Login| async move { login.device() }).max_handshakes(4);
    server.serve(TlsListener::new(listener, config)).await;
}

fn on_tokio(certificate: &Certificate) -> SocketAddr {
    on_tokio_with(certificate.config())
}

fn on_tokio_with(config: TlsConfig) -> SocketAddr {
    let (told, addr) = mpsc::sync_channel(1);
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            told.send(listener.local_addr().unwrap()).unwrap();
            serve(rt::Tokio, listener, config).await;
        });
    });
    addr.recv_timeout(GUARD).unwrap()
}

fn on_smol(certificate: &Certificate) -> SocketAddr {
    let (config, (told, addr)) = (certificate.config(), mpsc::sync_channel(1));
    thread::spawn(move || {
        smol::block_on(async {
            let listener = smol::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            told.send(listener.local_addr().unwrap()).unwrap();
            serve(rt::Smol, listener, config).await;
        });
    });
    addr.recv_timeout(GUARD).unwrap()
}

fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(GUARD)).unwrap();
    stream.set_write_timeout(Some(GUARD)).unwrap();
    stream
}

struct Client(StreamOwned<ClientConnection, TcpStream>);

impl Client {
    fn login(
        addr: SocketAddr,
        certificate: &Certificate,
        version: &'static SupportedProtocolVersion,
    ) -> Self {
        let mut client = Self(StreamOwned::new(certificate.client(version), connect(addr)));
        client.send(b"alice");
        client
    }

    fn send(&mut self, message: &[u8]) {
        self.0.write_all(&u32::try_from(message.len()).unwrap().to_be_bytes()).unwrap();
        self.0.write_all(message).unwrap();
        self.0.flush().unwrap();
    }

    fn recv(&mut self) -> Vec<u8> {
        let mut length = [0; 4];
        self.0.read_exact(&mut length).unwrap();
        let mut message = vec![0; u32::from_be_bytes(length) as usize];
        self.0.read_exact(&mut message).unwrap();
        message
    }
}

fn echoes(addr: SocketAddr, certificate: &Certificate) {
    for version in VERSIONS {
        let mut client = Client::login(addr, certificate, version);
        for message in [b"hello".to_vec(), vec![7; 1_000_000], vec![], b"bye".to_vec()] {
            client.send(&message);
            assert_eq!(client.recv(), message);
        }
        // Its goodbye is answered with the server's, and the stream ends in good order.
        client.0.conn.send_close_notify();
        client.0.flush().unwrap();
        assert_eq!(client.0.read(&mut [0; 10]).unwrap(), 0);
    }
}

#[test]
fn a_replaced_certificate_is_shown_to_new_connections_and_old_ones_live_on() {
    let (old, new) = (Certificate::new(), Certificate::new());
    let config = old.config();
    let addr = on_tokio_with(config.clone());
    let mut early = Client::login(addr, &old, VERSIONS[0]);
    early.send(b"before");
    assert_eq!(early.recv(), b"before");
    config.replace(&new.config());
    // Clients trust one of the two alone.
    for version in VERSIONS {
        let mut late = Client::login(addr, &new, version);
        late.send(b"after");
        assert_eq!(late.recv(), b"after");
        let mut distrusts = StreamOwned::new(old.client(version), connect(addr));
        assert!(distrusts.write_all(b"x").and_then(|()| distrusts.flush()).is_err());
    }
    early.send(b"still");
    assert_eq!(early.recv(), b"still");
}

#[test]
fn both_versions_are_served_on_tokio() {
    let certificate = Certificate::new();
    echoes(on_tokio(&certificate), &certificate);
}

#[test]
fn both_versions_are_served_on_smol() {
    let certificate = Certificate::new();
    echoes(on_smol(&certificate), &certificate);
}

/// Reads to the end of a stream, however it ends.
fn ends(stream: &mut TcpStream) {
    match stream.read_to_end(&mut Vec::new()) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => panic!("the connection is not cut"),
        _ => {}
    }
}

#[test]
fn handshakes_that_stop_halfway_are_cut_and_others_are_served() {
    let certificate = Certificate::new();
    for addr in [on_tokio(&certificate), on_smol(&certificate)] {
        // More than fit.
        let mut half_open: Vec<_> = (0..10).map(|_| connect(addr)).collect();
        let mut hello = Vec::new();
        certificate.client(VERSIONS[0]).write_tls(&mut hello).unwrap();
        for (number, stream) in half_open.iter_mut().enumerate() {
            // Of the first nothing, of the last everything but the last byte.
            stream.write_all(&hello[..hello.len() * number / 10]).unwrap();
        }
        let mut client = Client::login(addr, &certificate, VERSIONS[0]);
        client.send(b"hello");
        assert_eq!(client.recv(), b"hello");
        half_open.iter_mut().for_each(ends);
    }
}

#[test]
fn who_speaks_no_tls_is_cut() {
    let certificate = Certificate::new();
    let addr = on_tokio(&certificate);
    for greeting in [&b"\0\0\0\x05alice"[..], b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"] {
        let mut stream = connect(addr);
        stream.write_all(greeting).unwrap();
        ends(&mut stream);
    }
}

#[test]
fn what_cannot_be_used_is_refused() {
    let (one, other) = (Certificate::new(), Certificate::new());
    let from_pem =
        |chain: &str, key: &str| TlsConfig::from_pem(chain.as_bytes(), key.as_bytes()).unwrap_err();
    assert!(matches!(from_pem("", &one.key()), TlsConfigError::NoCertificate));
    assert!(matches!(from_pem("hello", &one.key()), TlsConfigError::NoCertificate));
    assert!(matches!(from_pem(&one.key(), &one.key()), TlsConfigError::NoCertificate));
    assert!(matches!(from_pem(&one.chain(), ""), TlsConfigError::NoKey));
    assert!(matches!(from_pem(&one.chain(), &one.chain()), TlsConfigError::NoKey));
    assert!(matches!(from_pem(&one.chain(), &other.key()), TlsConfigError::Mismatch));
    let chain = "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";
    assert!(matches!(from_pem(chain, &one.key()), TlsConfigError::Certificate(_)));
    let chain = "-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n";
    assert!(matches!(from_pem(chain, &one.key()), TlsConfigError::Certificate(_)));
    let key = "-----BEGIN PRIVATE KEY-----\naGVsbG8=\n-----END PRIVATE KEY-----\n";
    assert!(matches!(from_pem(&one.chain(), key), TlsConfigError::Key(_)));
}
