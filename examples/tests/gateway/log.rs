//! What the gateway writes to stderr.

use crate::support::{Process, Tcp, Ws, request, status};

#[tokio::test]
async fn what_is_lost_or_refused_is_one_line_without_payloads_and_secrets() {
    let mut gateway = Process::start("--token hush-hush --max-queued 1 --max-message 4096").await;
    assert_eq!(status(gateway.ws(), &request("/ws?uid=a&token=psst-psst", "")).await, 401);
    let lines = gateway.logs("a login was refused").await;
    assert!(lines.last().unwrap().contains("status=401"), "{lines:?}");

    let mut alice = Tcp::login(gateway.tcp(), "uid=alice&token=hush-hush").await;
    alice.send_all(["Q60|bob|pay-load", "Q60|bob|pay-load"]).await;
    assert!(alice.recv().await.starts_with("!error "));
    let lines = [lines, gateway.logs("a message was refused").await].concat();
    gateway.signal("TERM").await;
    assert_eq!(alice.rest().await, ["!bye drain"]);
    let lines = [lines, gateway.logs("drained").await].concat();
    for line in &lines {
        let is_open = ["hush-hush", "psst-psst", "pay-load"].iter().any(|word| line.contains(word));
        assert!(!is_open, "{line}");
        assert!(["ERROR", "WARN", "INFO"].iter().any(|level| line.contains(level)), "{line}");
    }
}

#[tokio::test]
async fn clients_cannot_flood_the_log() {
    const ATTEMPTS: usize = 200;

    let mut gateway = Process::start("--token secret").await;
    for _ in 0..ATTEMPTS {
        assert_eq!(status(gateway.ws(), &request("/ws?uid=a", "")).await, 401);
    }
    gateway.signal("TERM").await;
    let lines = gateway.logs("drained").await;
    let refused = lines.iter().filter(|line| line.contains("a login was refused")).count();
    assert!((1..ATTEMPTS).contains(&refused), "{refused} lines");
}

#[tokio::test]
async fn the_level_decides_what_is_written() {
    let mut gateway = Process::start("--log error").await;
    assert_eq!(status(gateway.ws(), &request("/ws", "")).await, 400);
    gateway.signal("TERM").await;
    assert_eq!(gateway.ended().await, Some(0));
    assert_eq!(gateway.rest_of_the_log().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_stderr_that_is_closed_stops_nothing() {
    let mut gateway = Process::start("--log trace").await.close_stderr();
    assert_eq!(status(gateway.ws(), &request("/ws", "")).await, 400);
    let mut alice = Ws::settled(gateway.ws(), "uid=alice").await;
    gateway.signal("TERM").await;
    assert_eq!(alice.rest().await, (vec!["!bye drain".to_owned()], Some(1001)));
    drop(alice);
    assert_eq!(gateway.ended().await, Some(0));
}
