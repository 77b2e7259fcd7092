use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use crate::server::{Kind, Server};

/// A `redis-server` or `valkey-server`.
pub type RedisServer = Server<Redis>;

/// Redis, see [`RedisServer`].
#[derive(Debug)]
#[non_exhaustive]
pub struct Redis;

impl Kind for Redis {
    const SCHEME: &'static str = "redis";
    const SYNCED: &'static str = "appendonly yes\nappendfsync always\n";

    fn program() -> Result<PathBuf> {
        crate::redis_server()
    }

    fn command(program: &Path, config: &Path, data: &Path, port: u16) -> Command {
        let mut command = Command::new(program);
        command.arg(config).args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--daemonize", "no"]);
        command.arg("--dir").arg(data);
        command
    }

    fn is_ready(addr: SocketAddr, pid: u32, _: &Path) -> Result<()> {
        let mut stream =
            TcpStream::connect_timeout(&addr, Duration::from_secs(1)).context("nobody listens")?;
        stream.set_read_timeout(Some(Duration::from_secs(1))).context("cannot set a timeout")?;
        // QUIT makes the server hang up, which is where the answer ends.
        stream.write_all(b"PING\r\nINFO server\r\nQUIT\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        // While it loads its data it answers LOADING.
        ensure!(answer.starts_with("+PONG\r\n"), "to PING it said {:?}", answer.lines().next());
        // Another server may have come first to a port that was free.
        let mine = format!("process_id:{pid}");
        ensure!(
            answer.lines().any(|line| line == mine),
            "another server listens there: address already in use"
        );
        Ok(())
    }
}
