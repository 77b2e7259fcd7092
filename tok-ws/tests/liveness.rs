//! Slow lines, on tokio's paused clock, once for each engine compiled in.
#![cfg(all(
    feature = "tokio",
    any(feature = "tokio-tungstenite", feature = "async-tungstenite", feature = "tokio-websockets")
))]

use std::{sync::Arc, time::Duration};

use tok_core::{
    Actor, CloseReason, Device, Hub, HubBuilder, Message, Session, async_trait, rt::Tokio,
    transport::TokioStream,
};
use tok_ws::{WsConfig, WsEngine, WsTransport};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    task::JoinHandle,
};

/// Sends each message back.
struct Echo;

#[async_trait]
impl Actor for Echo {
    async fn on_receive(&self, session: &Session, message: Message) {
        let _ = session.send(message);
    }
}

const SECOND: Duration = Duration::from_secs(1);

/// A hub that probes after a second, and one that waits for a second.
fn impatient() -> [HubBuilder; 2] {
    [
        Hub::builder(Echo).ping_interval(SECOND),
        Hub::builder(Echo).ping_interval(Duration::ZERO).read_timeout(2 * SECOND),
    ]
}

/// A session, and the client's end of its connection, which holds `buffer` bytes in each direction.
fn connect(builder: HubBuilder, engine: WsEngine, buffer: usize) -> (DuplexStream, JoinHandle<CloseReason>) {
    let hub = builder.runtime(Tokio).build().unwrap();
    let (near, far) = duplex(buffer);
    let config = Arc::new(WsConfig::new(engine.engine().unwrap(), 1 << 20));
    let transport = WsTransport::new(TokioStream::new(near), config);
    (far, tokio::spawn(hub.serve(Device::new("alice"), transport)))
}

/// A masked binary frame of 100,000 bytes.
fn large_frame() -> Vec<u8> {
    [&[0x82, 0xff][..], &100_000_u64.to_be_bytes(), &[0; 4], &[7; 100_000]].concat()
}

async fn a_frame_that_arrives_slowly_is_not_taken_for_silence(engine: WsEngine) {
    for builder in impatient() {
        let (mut far, session) = connect(builder, engine, 1 << 20);
        for part in large_frame().chunks(1000) {
            far.write_all(part).await.unwrap();
            tokio::time::sleep(SECOND / 2).await; // sleep: the clock is paused
        }
        let mut head = [0; 10];
        far.read_exact(&mut head[..2]).await.unwrap();
        // Before the answer there may be a Ping that was sent before the message began.
        if head[..2] == [0x89, 0] {
            far.read_exact(&mut head[..2]).await.unwrap();
        }
        assert_eq!(head[..2], [0x82, 127]);
        drop(far);
        session.await.unwrap();
    }
}

async fn a_client_that_reads_slowly_is_not_taken_for_silent(engine: WsEngine) {
    for builder in impatient() {
        let (far, session) = connect(builder, engine, 1024);
        let (mut reader, mut writer) = tokio::io::split(far);
        writer.write_all(&large_frame()).await.unwrap();
        let mut rest = 10 + 100_000;
        while rest > 0 {
            tokio::time::sleep(SECOND / 2).await; // sleep: the clock is paused
            let mut part = vec![0; rest.min(500)];
            reader.read_exact(&mut part).await.unwrap();
            rest -= part.len();
        }
        assert!(!session.is_finished());
        // It reads nothing more and says nothing.
        assert_eq!(session.await.unwrap(), CloseReason::Idle);
    }
}

macro_rules! engines {
    ($($feature:literal $module:ident $engine:ident)*) => {$(
        #[cfg(feature = $feature)]
        mod $module {
            use tok_ws::WsEngine::$engine;

            #[tokio::test(start_paused = true)]
            async fn a_frame_that_arrives_slowly_is_not_taken_for_silence() {
                super::a_frame_that_arrives_slowly_is_not_taken_for_silence($engine).await;
            }

            #[tokio::test(start_paused = true)]
            async fn a_client_that_reads_slowly_is_not_taken_for_silent() {
                super::a_client_that_reads_slowly_is_not_taken_for_silent($engine).await;
            }
        }
    )*};
}

engines! {
    "tokio-tungstenite" on_tokio_tungstenite TokioTungstenite
    "async-tungstenite" on_async_tungstenite AsyncTungstenite
    "tokio-websockets" on_tokio_websockets TokioWebsockets
}
