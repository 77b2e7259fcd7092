use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    process,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::ServerName},
};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use super::{Tcp, Ws, within};

/// A certificate of `localhost` that vouches for itself, in files that go with this value; and clients that trust it.
pub(crate) struct Certificate {
    folder: PathBuf,
    made: CertifiedKey<KeyPair>,
}

impl Certificate {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("tok-gateway-tls-{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).unwrap();
        let made = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let certificate = Self { folder, made };
        fs::write(certificate.cert(), certificate.made.cert.pem()).unwrap();
        fs::write(certificate.key(), certificate.made.signing_key.serialize_pem()).unwrap();
        certificate
    }

    pub(crate) fn cert(&self) -> PathBuf {
        self.folder.join("cert.pem")
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.folder.join("key.pem")
    }

    pub(crate) fn flags(&self) -> String {
        format!("--tls-cert {} --tls-key {}", self.cert().display(), self.key().display())
    }

    pub(crate) async fn connect(&self, addr: SocketAddr) -> TlsStream<TcpStream> {
        let mut roots = RootCertStore::empty();
        roots.add(self.made.cert.der().clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = within("a connection", TcpStream::connect(addr)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        let name = ServerName::try_from("localhost").unwrap();
        within("the handshake of TLS", connector.connect(name, stream)).await.unwrap()
    }

    pub(crate) async fn tcp(&self, addr: SocketAddr, login: &str) -> Tcp<TlsStream<TcpStream>> {
        Tcp::over(self.connect(addr).await, login).await
    }

    pub(crate) async fn ws(&self, addr: SocketAddr, query: &str) -> Ws<TlsStream<TcpStream>> {
        let request = format!("wss://localhost/ws?{query}").into_client_request().unwrap();
        Ws::over(self.connect(addr).await, request).await.unwrap()
    }
}

impl Drop for Certificate {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}
