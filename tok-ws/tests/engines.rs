//! The suite of engines, on each that is compiled in.
#![cfg(any(feature = "tokio-tungstenite", feature = "async-tungstenite", feature = "tokio-websockets"))]

use tok_ws::WsEngine;

#[cfg(feature = "tokio-tungstenite")]
mod tokio_tungstenite {
    tok_ws::engine_conformance!(|| tok_ws::WsEngine::TokioTungstenite.engine().unwrap());
}

#[cfg(feature = "async-tungstenite")]
mod async_tungstenite {
    tok_ws::engine_conformance!(|| tok_ws::WsEngine::AsyncTungstenite.engine().unwrap());
}

#[cfg(feature = "tokio-websockets")]
mod tokio_websockets {
    tok_ws::engine_conformance!(|| tok_ws::WsEngine::TokioWebsockets.engine().unwrap());
}

#[test]
fn engines_agree() {
    let engines: Vec<_> = WsEngine::compiled().iter().map(|engine| engine.engine().unwrap()).collect();
    tok_ws::testkit::engines_agree(&engines);
}
