//! Clients that send without end and never read.

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    support::{RawWs, frame, within},
    target::{Target, targets},
};

/// A client for which the system holds little.
async fn deaf(target: &Target) -> RawWs {
    let client = RawWs::login(target.gateway.ws(), "uid=deaf").await;
    SockRef::from(&client.0).set_recv_buffer_size(4096).unwrap();
    client
}

#[tokio::test]
async fn pings_whose_pongs_nobody_reads() {
    const PINGS: u32 = 100_000;

    for flags in targets() {
        let mut target = Target::start(flags).await;
        let mut client = deaf(&target).await;
        let payload = |number: u32| {
            let mut payload = [b'p'; 125];
            payload[..4].copy_from_slice(&number.to_be_bytes());
            payload
        };
        for number in (0..PINGS).step_by(500) {
            let pings: Vec<u8> =
                (number..number + 500).flat_map(|number| frame(0x89, &payload(number))).collect();
            client.send(&pings).await;
        }
        // Handled behind all pings.
        client.send(&frame(0x81, b"Twitness|all are read")).await;
        assert_eq!(target.witness.recv().await, "Twitness|all are read");
        target.survives("a flood of pings", 2 * 1024).await;

        // Not to take all day over what the system holds on the other side.
        SockRef::from(&client.0).set_recv_buffer_size(1 << 20).unwrap();
        // Pongs were left out, and the newest was not (RFC 6455 section 5.5.3).
        let newest = [&[0x8a, 125][..], &payload(PINGS - 1)].concat();
        let mut pongs = Vec::new();
        while !pongs.ends_with(&newest) {
            let count = within("the newest Pong", client.0.read_buf(&mut pongs)).await.unwrap();
            assert!(count > 0, "the server closed");
        }
        assert!(pongs.len() < PINGS as usize * newest.len(), "all Pongs were kept");
    }
}

#[tokio::test]
async fn messages_whose_echoes_nobody_reads() {
    const BYTES: usize = 40_000_000;

    for flags in targets() {
        let mut target = Target::start(format!("{flags} --max-backlog 100000")).await;
        let mut client = deaf(&target).await;
        let messages = frame(0x82, &[b'E'; 8000]).repeat(10);
        for _ in 0..BYTES / messages.len() {
            // It is closed as slow, and what it sends from then on is discarded, until it is cut off.
            if within("room to write", client.0.write_all(&messages)).await.is_err() {
                break;
            }
        }
        target.is_left_alone().await;
        target.survives("a flood of messages", 2 * 1024).await;
    }
}
