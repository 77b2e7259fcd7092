//! One decoder for each thread, for the connection there that comes to life next: making one costs more than all else
//! that a small message takes.

use std::{cell::RefCell, sync::Arc};

use crate::{WsConfig, engine::Decoder};

struct Spare {
    /// Whose decoder it is. A thread that serves several listeners keeps the last one's.
    config: Arc<WsConfig>,
    decoder: Option<Box<dyn Decoder>>,
}

thread_local! {
    static SPARE: RefCell<Option<Spare>> = const { RefCell::new(None) };
}

/// A decoder between two frames, with no message open.
pub(crate) fn take(config: &Arc<WsConfig>) -> Box<dyn Decoder> {
    let spare = SPARE.try_with(|spare| {
        let mut spare = spare.try_borrow_mut().ok()?;
        spare.as_mut().filter(|spare| Arc::ptr_eq(&spare.config, config))?.decoder.take()
    });
    spare.ok().flatten().unwrap_or_else(|| config.engine().decoder(config.decoder()))
}

/// Keeps a decoder that has given all it was fed, between two frames and with no message open.
pub(crate) fn put(config: &Arc<WsConfig>, decoder: Box<dyn Decoder>) {
    let new = Spare { config: Arc::clone(config), decoder: Some(decoder) };
    let old = SPARE.try_with(|spare| spare.try_borrow_mut().ok()?.replace(new));
    // Nothing is borrowed any more: engines are other people's code.
    drop(old);
}
