//! The signals that end the gateway: SIGTERM and SIGINT. Further ones change nothing: the drain's deadline stands.

use std::{future::Future, io, pin::pin};

use futures_util::future::select;

/// Ready at the first signal after this call, which has to be made on tokio.
pub(super) fn on_tokio() -> io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};

    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        select(pin!(terminate.recv()), pin!(interrupt.recv())).await;
    })
}

/// Ready at the first signal after this call. smol has no signals of its own: a thread waits for them.
#[cfg(feature = "smol")]
pub(super) fn on_smol() -> io::Result<impl Future<Output = ()>> {
    use signal_hook::{
        consts::{SIGINT, SIGTERM},
        iterator::Signals,
    };

    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let (sender, receiver) = smol::channel::bounded::<()>(1);
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        signals.forever().next();
        // Closes the channel.
        drop(sender);
    })?;
    Ok(async move {
        let _ = receiver.recv().await;
    })
}
