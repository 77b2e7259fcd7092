//! The server under test, as a process that ends with the run.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::cmd::run_cargo;
use crate::workspace::Workspace;

/// Much longer than a start takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// The largest message of the cases, in 9.1 and 9.2.
const MAX_MESSAGE: usize = 16 * 1024 * 1024;

/// Builds the program. Unoptimized: the cases take little more time on it, and the tests have built most of it.
pub(super) fn build(workspace: &Workspace) -> Result<PathBuf> {
    let args = ["build", "--package", "examples", "--bin", "gateway", "--message-format"];
    let args = [&args[..], &["json-render-diagnostics"]].concat();
    let outcome = run_cargo(workspace, "autobahn-build", &args, &[])?;
    if !outcome.success {
        let said = outcome.output.lines().filter(|line| !line.starts_with('{'));
        bail!("the gateway does not build:\n{}", said.collect::<Vec<_>>().join("\n"));
    }
    program(&outcome.output).context("cargo does not say where it put the gateway")
}

fn program(messages: &str) -> Option<PathBuf> {
    let mut artifacts = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    artifacts.find_map(|artifact| {
        let is_it = artifact["target"]["name"] == "gateway" && artifact["target"]["kind"][0] == "bin";
        is_it.then(|| artifact["executable"].as_str().map(PathBuf::from))?
    })
}

/// `gateway --echo` on a port of its own. Dropping it ends the process.
#[derive(Debug)]
pub(super) struct Gateway {
    child: Child,
    address: String,
}

impl Gateway {
    pub(super) fn start(program: &Path, engine: &str) -> Result<Self> {
        let mut child = Command::new(program)
            .args(["--echo", "--ws", "127.0.0.1:0", "--engine", engine])
            .args(["--max-message", &MAX_MESSAGE.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let stdout = child.stdout.take();
        let mut gateway = Self { child, address: String::new() };
        let (sender, ready) = sync_channel(1);
        // A read from a pipe cannot be given a deadline, waiting for a thread can.
        thread::spawn(move || {
            let mut line = String::new();
            let read = stdout.map(|stdout| BufReader::new(stdout).read_line(&mut line));
            // Nobody waits any more: it took too long.
            let _ = sender.send(read.map(|read| read.map(|_| line)));
        });
        let Ok(Some(line)) = ready.recv_timeout(PATIENCE) else { bail!("the gateway does not get ready") };
        let line = line.context("cannot read what the gateway prints")?;
        let address = line.trim_end().strip_prefix("ready ws=");
        gateway.address = address.with_context(|| format!("the gateway is not ready: {line:?}"))?.to_owned();
        Ok(gateway)
    }

    /// Where it listens.
    pub(super) fn address(&self) -> &str {
        &self.address
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It may have ended by itself, which the cases will have noticed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_where_cargo_says() {
        let messages = r#"   Compiling examples
{"reason":"compiler-artifact","target":{"kind":["lib"],"name":"gateway"},"executable":null}
{"reason":"compiler-artifact","target":{"kind":["bin"],"name":"chat"},"executable":"/t/debug/chat"}
{"reason":"compiler-artifact","target":{"kind":["bin"],"name":"gateway"},"executable":"/t/debug/gateway"}
{"reason":"build-finished","success":true}"#;
        assert_eq!(program(messages), Some("/t/debug/gateway".into()));
        assert_eq!(program("{}"), None);
    }

    #[test]
    fn a_program_that_does_not_get_ready_is_an_error() {
        // It prints its arguments and ends.
        let error = Gateway::start(Path::new("echo"), "any").unwrap_err().to_string();
        assert!(error.contains("not ready"), "{error}");
        assert!(Gateway::start(Path::new("/nowhere/gateway"), "any").is_err());
    }
}
