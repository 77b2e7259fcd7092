use tokio_tungstenite::WebSocketStream;
use tungstenite::protocol::Role;

use super::{
    Decoder, DecoderConfig, Engine,
    pipe::Pipe,
    tungstenite::{Socket, Tungstenite, at_once, config},
};

pub(super) struct TokioTungstenite;

impl Engine for TokioTungstenite {
    fn name(&self) -> &str {
        "tokio-tungstenite"
    }

    fn decoder(&self, settings: &DecoderConfig) -> Box<dyn Decoder> {
        let config = Some(config(settings));
        Box::new(Tungstenite(at_once(WebSocketStream::from_raw_socket(
            Pipe::default(),
            Role::Server,
            config,
        ))))
    }
}

impl Socket for WebSocketStream<Pipe> {
    fn pipe(&mut self) -> &mut Pipe {
        self.get_mut()
    }
}
