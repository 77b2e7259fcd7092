//! Frames that are too many, too small, or never come whole.

use tokio::io::AsyncWriteExt;

use crate::{
    support::{RawWs, Tcp, frame, frame_head, request, within},
    target::{Target, runtimes, targets},
};

#[tokio::test]
async fn a_million_fragments_of_one_byte() {
    const FRAGMENTS: usize = 1_000_000;

    for flags in targets() {
        let mut target = Target::start(flags).await;
        let mut client = RawWs::login(target.gateway.ws(), "uid=shredder").await;
        client.send(&frame(0x02, b"E")).await;
        let fragments = frame(0x00, b"x").repeat(1000);
        for _ in 0..FRAGMENTS / 1000 - 1 {
            client.send(&fragments).await;
        }
        // One less than a thousand, and the last one.
        client.send(&fragments[7..]).await;
        target.survives("a million fragments", 4 * 1024).await;
        client.send(&frame(0x80, b"")).await;
        let (first, message) = client.next().await.unwrap();
        assert_eq!((first, message.len()), (0x82, FRAGMENTS));
        assert!(message[0] == b'E' && message[1..].iter().all(|byte| *byte == b'x'));
        target.survives("their message", 8 * 1024).await;
    }
}

#[tokio::test]
async fn fragments_of_nothing_are_refused() {
    for flags in targets() {
        let mut target = Target::start(flags).await;
        let mut client = RawWs::login(target.gateway.ws(), "uid=shredder").await;
        client.send(&[frame(0x01, b""), frame(0x00, b"").repeat(10_000)].concat()).await;
        assert_eq!(client.until_close().await, (vec![], 1002));
        drop(client);
        target.is_left_alone().await;
        target.survives("fragments of nothing", 1024).await;
    }
}

#[tokio::test]
async fn announced_bytes_that_never_come() {
    const CONNECTIONS: usize = 100;
    const ANNOUNCED: u32 = 60 << 20;

    for flags in targets() {
        let mut target = Target::start(format!("{flags} --max-message {}", 64 << 20)).await;
        let mut open = Vec::new();
        for name in 0..CONNECTIONS {
            let mut ws = RawWs::login(target.gateway.ws(), &format!("uid=ws{name}")).await;
            let ping = frame(0x89, b"");
            let head = frame_head(0x82, ANNOUNCED.into());
            ws.send(&[&ping[..], &head, &[b'E'; 1024]].concat()).await;
            // They came together.
            assert_eq!(ws.next().await, Some((0x8a, vec![])));
            let mut tcp = Tcp::login(target.gateway.tcp(), &format!("tcp{name}")).await;
            tcp.send_raw(&[&[0, 0, 0, 1, b'E'][..], &ANNOUNCED.to_be_bytes(), &[b'E'; 1024]].concat()).await;
            assert_eq!(tcp.recv().await, "E");
            open.push((ws, tcp));
        }
        // 20 KiB a connection, for 60 MiB announced.
        target.survives("announced frames", 4 * 1024).await;
        drop(open);
        target.is_left_alone().await;
    }
}

#[tokio::test]
async fn tcp_frames_that_announce_4_gib() {
    for flags in runtimes() {
        let mut target = Target::start(flags).await;
        for name in 0..100 {
            let mut before_login = Tcp::connect(target.gateway.tcp()).await;
            before_login.send_raw(&[0xff; 100]).await;
            let mut after_login = Tcp::settled(target.gateway.tcp(), &format!("tcp{name}")).await;
            after_login.send_raw(&[0xff; 100]).await;
            for mut client in [before_login, after_login] {
                let answers = client.rest().await;
                assert!(answers.len() == 1 && answers[0].starts_with("!error "), "{answers:?}");
            }
        }
        target.is_left_alone().await;
        target.survives("frames of 4 GiB", 1024).await;
    }
}

#[tokio::test]
async fn one_byte_at_a_time() {
    for flags in targets() {
        let mut target = Target::start(flags).await;
        let mut stream =
            within("a connection", tokio::net::TcpStream::connect(target.gateway.ws())).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let handshake = request("/ws?uid=slow", "");
        for byte in handshake.as_bytes() {
            within("room to write", stream.write_all(&[*byte])).await.unwrap();
        }
        let mut client = RawWs::accepted(stream).await;
        let script = [
            (frame(0x89, b"?"), (0x8a, b"?".to_vec())),
            ([frame(0x01, b"E h"), frame(0x80, "ö".as_bytes())].concat(), (0x81, "E hö".as_bytes().to_vec())),
            (frame(0x82, &[b'E'; 300]), (0x82, vec![b'E'; 300])),
            (frame(0x88, &1000_u16.to_be_bytes()), (0x88, 1000_u16.to_be_bytes().to_vec())),
        ];
        for (frames, answer) in script {
            for byte in frames {
                client.send(&[byte]).await;
            }
            assert_eq!(client.next().await, Some(answer), "{}", target.flags);
        }
        client.ends().await;
        target.is_left_alone().await;
        target.survives("one byte at a time", 512).await;
    }
}
