//! What the gateway shows to clients that connect over TLS.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tok_tls::{TlsConfig, TlsConfigError};

use super::{Error, in_one_line};

/// `--tls-cert` and `--tls-key`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, clippy::exhaustive_structs)]
pub struct TlsFiles {
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl TlsFiles {
    pub(super) fn load(&self) -> Result<TlsConfig, Error> {
        let (chain, key) = (read(CERT, &self.cert)?, read(KEY, &self.key)?);
        TlsConfig::from_pem(&chain, &key).map_err(|error| {
            let flag = match error {
                TlsConfigError::NoCertificate | TlsConfigError::Certificate(_) => CERT,
                _ => KEY,
            };
            unusable(flag, &error)
        })
    }
}

const CERT: &str = "--tls-cert";
const KEY: &str = "--tls-key";

fn read(flag: &'static str, path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|error| unusable(flag, &error))
}

/// Names the flag and not its value: a user who passes the key itself must not find it in a log.
fn unusable(flag: &'static str, cause: &dyn std::error::Error) -> Error {
    Error::Tls { flag, cause: in_one_line(cause) }
}
