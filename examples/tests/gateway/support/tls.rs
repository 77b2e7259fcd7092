use std::{fs, io, net::SocketAddr, path::PathBuf, sync::Arc};

use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::ServerName},
};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use super::{Folder, Tcp, Ws, within};

/// A certificate of `localhost` that vouches for itself, in files that go with this value; and clients that trust it.
pub(crate) struct Certificate {
    folder: Folder,
    made: CertifiedKey<KeyPair>,
}

impl Certificate {
    pub(crate) fn new() -> Self {
        let made = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let certificate = Self { folder: Folder::new(), made };
        fs::write(certificate.cert(), certificate.made.cert.pem()).unwrap();
        fs::write(certificate.key(), certificate.made.signing_key.serialize_pem()).unwrap();
        certificate
    }

    pub(crate) fn cert(&self) -> PathBuf {
        self.folder.path("cert.pem")
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.folder.path("key.pem")
    }

    /// Puts another certificate's files in the place of its own.
    pub(crate) fn install(&self, other: &Self) {
        fs::copy(other.cert(), self.cert()).unwrap();
        fs::copy(other.key(), self.key()).unwrap();
    }

    pub(crate) fn flags(&self) -> String {
        format!("--tls-cert {} --tls-key {}", self.cert().display(), self.key().display())
    }

    pub(crate) async fn connect(&self, addr: SocketAddr) -> TlsStream<TcpStream> {
        self.try_connect(addr).await.unwrap()
    }

    /// Fails if the server shows another certificate.
    pub(crate) async fn try_connect(&self, addr: SocketAddr) -> io::Result<TlsStream<TcpStream>> {
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
        within("the handshake of TLS", connector.connect(name, stream)).await
    }

    pub(crate) async fn tcp(&self, addr: SocketAddr, login: &str) -> Tcp<TlsStream<TcpStream>> {
        Tcp::over(self.connect(addr).await, login).await
    }

    pub(crate) async fn ws(&self, addr: SocketAddr, query: &str) -> Ws<TlsStream<TcpStream>> {
        let request = format!("wss://localhost/ws?{query}").into_client_request().unwrap();
        Ws::over(self.connect(addr).await, request).await.unwrap()
    }
}
