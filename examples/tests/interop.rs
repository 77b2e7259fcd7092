//! Clients that nobody here wrote, against every engine: Python's `websockets` and Node's `ws`. Both answer Pings, offer
//! compression and close in their own way.

#![cfg(unix)]

#[path = "interop/environment.rs"]
mod environment;
#[path = "gateway/support/mod.rs"]
#[allow(dead_code, unused_imports)] // The gateway's own tests use more of it.
mod support;

use std::process::Stdio;

use tok_ws::WsEngine;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::Command,
};

use support::{Gateway, within};

/// It needs escaping in a query.
const TOKEN: &str = "s+cret&more";

#[tokio::test]
async fn the_websockets_package_of_python() {
    let python = environment::python();
    let steps = "text, binary, largest, fragments, ping, pipelined, close, \
                 kicked, sso, too big, bad text, refused, waiting, drained";
    for engine in WsEngine::compiled() {
        let mut client = Command::new(&python);
        client.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop/client.py"));
        talk(&engine.to_string(), client, steps).await;
    }
}

#[tokio::test]
async fn the_ws_package_of_node() {
    let path = environment::node_path();
    let steps = "text, binary, largest, fragments, ping, pipelined, close, confirmed, \
                 kicked, sso, too big, bad text, refused, waiting, drained";
    for engine in WsEngine::compiled() {
        let mut client = Command::new("node");
        client.env("NODE_PATH", &path).arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop/client.cjs"));
        talk(&engine.to_string(), client, steps).await;
    }
}

/// Runs a client that prints these steps, and drains the gateway when it waits for that.
async fn talk(engine: &str, mut client: Command, steps: &str) {
    let mut gateway = Gateway::start(&format!("--engine {engine} --token {TOKEN}")).await;
    let mut client = client
        .args([&gateway.ws().to_string(), TOKEN])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|error| panic!("cannot run {client:?}: {error}"));
    let mut lines = BufReader::new(client.stdout.take().unwrap()).lines();
    let mut printed = Vec::new();
    while let Some(line) = within("a line of the client", lines.next_line()).await.unwrap() {
        if line == "waiting" {
            gateway.drain();
        }
        printed.push(line);
    }
    let mut error = String::new();
    within("what it says", client.stderr.take().unwrap().read_to_string(&mut error)).await.unwrap();
    assert!(
        within("its end", client.wait()).await.unwrap().success(),
        "on {engine}, after {printed:?}: {error}"
    );
    assert_eq!(printed.join(", "), steps, "on {engine}");
    gateway.ended().await;
}
