//! What the gateway shows to clients that connect over TLS.

use std::{
    error::Error as _,
    fs, io,
    path::{Path, PathBuf},
};

use tok_tls::{TlsConfig, TlsConfigError};

use super::Error;

/// `--tls-cert` and `--tls-key`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, clippy::exhaustive_structs)]
pub struct TlsFiles {
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl TlsFiles {
    pub(super) fn load(&self) -> Result<TlsConfig, Error> {
        let (chain, key) = (read(&self.cert)?, read(&self.key)?);
        TlsConfig::from_pem(&chain, &key).map_err(|error| {
            let path = match error {
                TlsConfigError::NoCertificate | TlsConfigError::Certificate(_) => &self.cert,
                _ => &self.key,
            };
            let cause = error.source().map_or_else(String::new, |cause| format!(": {cause}"));
            unusable(path, &format!("{error}{cause}"))
        })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|error: io::Error| unusable(path, &error.to_string()))
}

fn unusable(path: &Path, cause: &str) -> Error {
    // One line is all that there is for it.
    Error::Tls { path: path.display().to_string(), cause: cause.replace('\n', " ") }
}
