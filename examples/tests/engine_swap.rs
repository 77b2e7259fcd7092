//! To swap the engine of a program is to change one feature and no line of code.

use std::{env, path::PathBuf, process::Stdio, time::Duration};

use futures_util::{SinkExt, StreamExt};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
};
use tokio_tungstenite::{connect_async, tungstenite::Message};

/// Only a test that fails takes so long. The first build compiles what no other build has yet.
const PATIENCE: Duration = Duration::from_secs(600);

#[tokio::test]
async fn one_program_built_with_each_engine_serves_on_each() {
    let swap = async {
        for engine in ["tokio-tungstenite", "async-tungstenite", "tokio-websockets"] {
            let program = build(engine).await;
            echo(&program, engine).await;
        }
    };
    tokio::time::timeout(PATIENCE, swap).await.expect("builds or echoes that do not end");
}

/// Builds `tok-ws/examples/echo.rs` with one engine, into the folder where cargo has built this test.
async fn build(engine: &str) -> PathBuf {
    let mut target = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    target.pop();
    let output = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--locked", "--package", "tok-ws", "--example", "echo", "--message-format", "json"])
        .args(["--no-default-features", "--features", &format!("tokio,{engine}")])
        .arg("--target-dir")
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{engine}: {}", String::from_utf8_lossy(&output.stderr));
    let messages = String::from_utf8(output.stdout).unwrap();
    let executable = |line: &str| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        Some(PathBuf::from(message["executable"].as_str()?))
    };
    messages.lines().find_map(executable).expect("cargo names the program that it built")
}

/// Runs the program, which says where it listens and on which engine. That is the first one compiled in, so a build that
/// had all three would name the same engine each time.
async fn echo(program: &PathBuf, engine: &str) {
    let mut child = Command::new(program).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let ready = lines.next_line().await.unwrap().expect("the program says that it is ready");
    let (url, used) = ready.split_once(" on ").unwrap();
    assert_eq!(used, engine);

    let (mut client, _) = connect_async(format!("{url}/?uid=alice")).await.unwrap();
    let message = Message::text("the same ".repeat(10_000));
    client.send(message.clone()).await.unwrap();
    assert_eq!(client.next().await.unwrap().unwrap(), message);
}
