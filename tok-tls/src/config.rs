use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use rustls::{
    ServerConfig, ServerConnection,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
};
use tok_core::error::BoxError;

/// What a server shows and agrees to: its certificate, its key, the versions of TLS. Cloning is cheap, and one may serve
/// many listeners. Clones share what they hold: [`replace`](Self::replace) on one changes all.
///
/// [`from_pem`](Self::from_pem) is all that most servers need. For more (certificates by host name, clients that have to
/// show one) make a [`rustls::ServerConfig`] and convert it.
#[derive(Clone)]
pub struct TlsConfig(Arc<Mutex<Arc<ServerConfig>>>);

impl TlsConfig {
    /// A certificate with the chain that vouches for it, and its private key, both in PEM, as certificate authorities hand
    /// them out. TLS 1.3 and 1.2; clients need no certificate.
    ///
    /// ```no_run
    /// use tok_tls::TlsConfig;
    ///
    /// let config = TlsConfig::from_pem(&std::fs::read("chain.pem")?, &std::fs::read("key.pem")?)?;
    /// # let _ = config;
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// One of them cannot be read, or they do not belong together.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, TlsConfigError> {
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<_, _>>()
            .map_err(|error| TlsConfigError::Certificate(error.into()))?;
        if chain.is_empty() {
            return Err(TlsConfigError::NoCertificate);
        }
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| match error {
            pem::Error::NoItemsFound => TlsConfigError::NoKey,
            error => TlsConfigError::Key(error.into()),
        })?;
        // Named, because where several of rustls's providers are compiled in there is no default one.
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
            .map_err(TlsConfigError::from)?;
        Ok(Arc::new(config).into())
    }

    /// Uses another configuration for all connections that are accepted from now on, by every listener that has this
    /// value or a clone of it: for a certificate that was renewed. Connections that exist keep the old one, and clients
    /// cannot resume their TLS sessions with it.
    ///
    /// ```no_run
    /// use tok_tls::{TlsConfig, TlsConfigError};
    ///
    /// fn renew(config: &TlsConfig, chain: &[u8], key: &[u8]) -> Result<(), TlsConfigError> {
    ///     config.replace(&TlsConfig::from_pem(chain, key)?);
    ///     Ok(())
    /// }
    /// ```
    pub fn replace(&self, with: &Self) {
        let new = with.current();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = new;
    }

    fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A connection of which nothing has been read.
    pub(crate) fn connection(&self) -> Result<ServerConnection, rustls::Error> {
        ServerConnection::new(self.current())
    }
}

impl From<Arc<ServerConfig>> for TlsConfig {
    fn from(config: Arc<ServerConfig>) -> Self {
        Self(Arc::new(Mutex::new(config)))
    }
}

impl fmt::Debug for TlsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // It holds the key.
        f.write_str("TlsConfig")
    }
}

/// [`TlsConfig::from_pem`] cannot serve with that.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsConfigError {
    /// There is no certificate in the PEM.
    #[error("there is no certificate in it")]
    NoCertificate,
    /// The certificate, or one of its chain, cannot be read.
    #[error("the certificate cannot be used")]
    Certificate(#[source] BoxError),
    /// There is no private key in the PEM.
    #[error("there is no private key in it")]
    NoKey,
    /// The private key cannot be read.
    #[error("the private key cannot be used")]
    Key(#[source] BoxError),
    /// The private key is not that of the certificate.
    #[error("the private key is not that of the certificate")]
    Mismatch,
}

impl From<rustls::Error> for TlsConfigError {
    fn from(error: rustls::Error) -> Self {
        match error {
            rustls::Error::InconsistentKeys(_) => Self::Mismatch,
            rustls::Error::InvalidCertificate(_) => Self::Certificate(error.into()),
            error => Self::Key(error.into()),
        }
    }
}
