//! SIGHUP: the files of certificates, keys and secrets are read again.

use std::pin::Pin;

use futures_util::{Stream, StreamExt};
use tok_tls::TlsConfig;

use super::{
    Error, Flags, TlsFiles,
    secret::{Token, TokenSource},
};

/// What was read from files and can be replaced.
#[derive(Clone, Debug)]
pub(super) struct Replaceable {
    pub(super) tls: Option<TlsConfig>,
    pub(super) token: Token,
}

impl Replaceable {
    /// Reads all files that the flags name.
    pub(super) fn load(flags: &Flags) -> Result<Self, Error> {
        let secret = flags.token.as_ref().map(TokenSource::load).transpose()?;
        Ok(Self { tls: flags.tls.as_ref().map(TlsFiles::load).transpose()?, token: Token::new(secret) })
    }

    /// Reads the files again at each item of `signals`, for as long as it is polled. A file that cannot be used changes
    /// nothing, and neither does a certificate without its key.
    pub(super) async fn reload_at(&self, flags: &Flags, mut signals: Pin<Box<dyn Stream<Item = ()>>>) {
        while let Some(()) = signals.next().await {
            let mut files = 0;
            if let (Some(files_of_tls), Some(tls)) = (&flags.tls, &self.tls) {
                files += 1;
                match files_of_tls.load() {
                    Ok(new) => {
                        tls.replace(&new);
                        tracing::info!(target: "gateway", "the certificate and its key were read again");
                    }
                    Err(error) => {
                        tracing::error!(target: "gateway", %error, "SIGHUP: the old certificate stays");
                    }
                }
            }
            if let Some(source @ TokenSource::File(_)) = &flags.token {
                files += 1;
                match source.load() {
                    Ok(secret) => {
                        self.token.replace(secret);
                        tracing::info!(target: "gateway", "the token was read again");
                    }
                    Err(error) => tracing::error!(target: "gateway", %error, "SIGHUP: the old token stays"),
                }
            }
            if files == 0 {
                tracing::info!(target: "gateway", "SIGHUP: there is no file to read again");
            }
        }
    }
}
