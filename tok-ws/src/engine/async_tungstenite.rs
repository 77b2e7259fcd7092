use async_tungstenite::WebSocketStream;
use tungstenite::protocol::Role;

use super::{
    Decoder, DecoderConfig, Engine,
    pipe::Pipe,
    tungstenite::{Socket, Tungstenite, at_once, config},
};

pub(super) struct AsyncTungstenite;

impl Engine for AsyncTungstenite {
    fn name(&self) -> &str {
        "async-tungstenite"
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
