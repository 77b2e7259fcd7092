use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use crate::server::{Kind, Server};

/// A `nats-server` with JetStream.
pub type NatsServer = Server<Nats>;

/// NATS, see [`NatsServer`].
#[derive(Debug)]
#[non_exhaustive]
pub struct Nats;

impl Kind for Nats {
    const SCHEME: &'static str = "nats";
    // By default JetStream syncs every two minutes.
    const SYNCED: &'static str = "jetstream { sync_interval: always }\n";

    fn program() -> Result<PathBuf> {
        crate::nats_server()
    }

    fn command(program: &Path, config: &Path, data: &Path, port: u16) -> Command {
        let mut command = Command::new(program);
        command.args(["--addr", "127.0.0.1", "--port", &port.to_string(), "--jetstream"]);
        command.arg("--config").arg(config).arg("--store_dir").arg(data).arg("--ports_file_dir").arg(data);
        command
    }

    fn is_ready(addr: SocketAddr, pid: u32, data: &Path) -> Result<()> {
        // Another server may have come first to a port that was free: this one has not written PROGRAM_PID.ports then.
        let suffix = format!("_{pid}.ports");
        let mut files = fs::read_dir(data).context("cannot read the data folder")?.flatten();
        let listens = files.any(|file| file.file_name().to_string_lossy().ends_with(&suffix));
        ensure!(listens, "it does not listen yet");
        let mut stream =
            TcpStream::connect_timeout(&addr, Duration::from_secs(1)).context("nobody listens")?;
        stream.set_read_timeout(Some(Duration::from_secs(1))).context("cannot set a timeout")?;
        let mut lines = BufReader::new(stream.try_clone().context("cannot share the connection")?).lines();
        let mut line = || -> Result<String> { Ok(lines.next().context("it has hung up")??) };
        let info = line()?;
        ensure!(info.starts_with("INFO "), "it said {info:?}");
        ensure!(info.contains(r#""jetstream":true"#), "JetStream is off");
        stream.write_all(b"CONNECT {\"verbose\":false,\"pedantic\":false}\r\nPING\r\n")?;
        let answer = line()?;
        // With accounts it wants to know who asks.
        let asks = answer.starts_with("-ERR 'Authorization");
        ensure!(answer == "PONG" || asks, "to PING it said {answer:?}");
        Ok(())
    }
}
