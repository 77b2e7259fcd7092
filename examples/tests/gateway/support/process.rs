use std::{net::SocketAddr, process::Stdio};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines},
    process::{Child, ChildStderr, Command},
};

use super::within;

/// The gateway program, as a process of its own. Dropping it kills the process.
pub(crate) struct Process {
    child: Child,
    ready: String,
    log: Lines<BufReader<ChildStderr>>,
}

impl Process {
    /// Both listeners, and these flags.
    pub(crate) async fn start(flags: &str) -> Self {
        Self::ready(command(&format!("{LISTEN} {flags}"))).await
    }

    /// As [`start`](Self::start), on a file system that can be full, see [`may_write`](Self::may_write).
    #[cfg(all(feature = "redb", target_os = "linux"))]
    pub(crate) async fn start_on_a_small_disk(flags: &str) -> Self {
        let mut shell = Command::new("sh");
        // Whoever does not ignore this signal is killed by it.
        shell.args(["-c", r#"trap "" XFSZ; exec "$0" "$@""#, env!("CARGO_BIN_EXE_gateway")]);
        Self::ready(spawn(shell, &format!("{LISTEN} {flags}"))).await
    }

    /// Lets no file grow beyond so many bytes: the system refuses what goes beyond, as it does when a disk is full.
    #[cfg(all(feature = "redb", target_os = "linux"))]
    pub(crate) async fn may_write(&self, bytes: &str) {
        let pid = self.child.id().unwrap().to_string();
        let limit = format!("--fsize={bytes}:unlimited");
        let status = Command::new("prlimit").args(["--pid", &pid, &limit]).status();
        assert!(within("prlimit", status).await.unwrap().success());
    }

    async fn ready(mut child: Child) -> Self {
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let Some(ready) = within("the ready line", lines.next_line()).await.unwrap() else {
            let mut said = String::new();
            let mut errors = child.stderr.take().unwrap();
            within("the end of the errors", errors.read_to_string(&mut said)).await.unwrap();
            panic!("no ready line: {said}");
        };
        assert!(ready.starts_with("ready ws="), "{ready}");
        let log = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, ready, log }
    }

    /// Runs it to its end: its exit status, what it wrote to stdout, and to stderr.
    pub(crate) async fn run(flags: &str) -> (Option<i32>, String, String) {
        let mut child = command(flags);
        let (mut out, mut err) = (String::new(), String::new());
        within("the end of the output", child.stdout.take().unwrap().read_to_string(&mut out)).await.unwrap();
        within("the end of the errors", child.stderr.take().unwrap().read_to_string(&mut err)).await.unwrap();
        let status = within("the end of the process", child.wait()).await.unwrap();
        (status.code(), out, err)
    }

    pub(crate) fn ws(&self) -> SocketAddr {
        self.address("ws")
    }

    pub(crate) fn tcp(&self) -> SocketAddr {
        self.address("tcp")
    }

    pub(crate) fn metrics(&self) -> SocketAddr {
        self.address("metrics")
    }

    fn address(&self, listener: &str) -> SocketAddr {
        let mut words = self.ready.split(' ');
        words.find_map(|word| word.strip_prefix(listener)?.strip_prefix('=')).unwrap().parse().unwrap()
    }

    /// Waits for a line on stderr that contains this; returns all up to it.
    pub(crate) async fn logs(&mut self, what: &str) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        while !lines.last().is_some_and(|line| line.contains(what)) {
            match within(what, self.log.next_line()).await.unwrap() {
                Some(line) => lines.push(line),
                None => panic!("stderr ended before {what:?}: {lines:?}"),
            }
        }
        lines
    }

    /// What is left on stderr, to its end.
    pub(crate) async fn rest_of_the_log(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(line) = within("the end of the log", self.log.next_line()).await.unwrap() {
            lines.push(line);
        }
        lines
    }

    /// Closes the other end of stderr.
    pub(crate) fn close_stderr(self) -> Self {
        let empty = Command::new("true").stderr(Stdio::piped()).spawn().unwrap().stderr.take().unwrap();
        Self { log: BufReader::new(empty).lines(), ..self }
    }

    pub(crate) async fn signal(&self, name: &str) {
        let pid = self.child.id().unwrap().to_string();
        let status = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(within("kill", status).await.unwrap().success());
    }

    /// Kills it at once, and waits until it is gone with all that it held: its file can be opened again.
    #[cfg(feature = "redb")]
    pub(crate) async fn kill(&mut self) {
        within("the end of the process", self.child.kill()).await.unwrap();
    }

    /// Waits for the end; the exit status, of which there is none when a signal ended it.
    pub(crate) async fn ended(&mut self) -> Option<i32> {
        within("the end of the process", self.child.wait()).await.unwrap().code()
    }

    /// The most memory that it has had resident, and what it has now, in KiB.
    #[cfg(target_os = "linux")]
    pub(crate) fn memory(&self) -> (u64, u64) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id().unwrap())).unwrap();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
        };
        (field("VmHWM:"), field("VmRSS:"))
    }
}

const LISTEN: &str = "--workers 2 --ws 127.0.0.1:0 --tcp 127.0.0.1:0";

fn command(flags: &str) -> Child {
    spawn(Command::new(env!("CARGO_BIN_EXE_gateway")), flags)
}

fn spawn(mut command: Command, flags: &str) -> Child {
    command
        .args(super::under().split_whitespace())
        .args(flags.split_whitespace())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}
