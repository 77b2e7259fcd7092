use std::sync::Arc;

use tok_core::transport::Framing;

use crate::{
    AUTO,
    engine::{DecoderConfig, Engine},
};

/// What the connections of one listener have in common.
///
/// ```
/// use std::sync::Arc;
/// use tok_ws::{TEXT, WsConfig, WsEngine};
///
/// # fn config() -> Result<(), tok_ws::engine::EngineUnavailable> {
/// let config = WsConfig::new(WsEngine::default().engine()?, 64 * 1024).with_framing(&TEXT);
/// let shared = Arc::new(config);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct WsConfig {
    engine: Arc<dyn Engine>,
    decoder: DecoderConfig,
    framing: &'static Framing,
}

impl WsConfig {
    /// Connections on `engine` that take messages of at most `max_message` bytes.
    #[must_use]
    pub fn new(engine: Arc<dyn Engine>, max_message: usize) -> Self {
        Self { engine, decoder: DecoderConfig::new(max_message), framing: &AUTO }
    }

    /// How messages are sent: [`AUTO`] (the default), [`TEXT`](crate::TEXT) or [`BINARY`](crate::BINARY).
    #[must_use]
    pub fn with_framing(mut self, framing: &'static Framing) -> Self {
        self.framing = framing;
        self
    }

    /// The engine.
    #[must_use]
    pub fn engine(&self) -> &Arc<dyn Engine> {
        &self.engine
    }

    /// The most bytes that one incoming message may have.
    #[must_use]
    pub fn max_message(&self) -> usize {
        self.decoder.max_message
    }

    pub(crate) fn framing(&self) -> &'static Framing {
        self.framing
    }

    pub(crate) fn decoder(&self) -> &DecoderConfig {
        &self.decoder
    }
}
