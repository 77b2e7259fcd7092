//! A server process: its port, its data, its end.

use std::{
    env,
    fmt::{self, Debug},
    fs::{self, File},
    marker::PhantomData,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{self, Child, ChildStdin, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail, ensure};

/// A machine under load takes seconds to start a process.
const PATIENCE: Duration = Duration::from_secs(30);

/// A port that was free is taken by another process now and then.
const PORTS: u32 = 20;

/// What one kind of server needs.
pub trait Kind: Debug + Send + Sync + 'static {
    /// How its URLs start.
    const SCHEME: &'static str;

    /// The configuration with which everything that it acknowledges is on disk.
    const SYNCED: &'static str;

    /// Where its program is.
    ///
    /// # Errors
    /// What to install.
    fn program() -> Result<PathBuf>;

    /// Starts it on a port with its data in a folder. `config` is a file in its own language.
    fn command(program: &Path, config: &Path, data: &Path, port: u16) -> Command;

    /// Asks the server on a port whether it is ready, and is the process of this id with its data in this folder.
    ///
    /// # Errors
    /// It is not, or not yet.
    fn is_ready(addr: SocketAddr, pid: u32, data: &Path) -> Result<()>;
}

/// A server on a free port of the loopback interface, which ends with this value.
///
/// ```no_run
/// use brokers::RedisServer;
///
/// let mut server = RedisServer::with_config("maxmemory 10mb\n")?;
/// server.suspend()?; // clients hear nothing more
/// server.resume()?;
/// # Ok::<(), anyhow::Error>(())
/// ```
pub struct Server<K: Kind> {
    program: PathBuf,
    folder: PathBuf,
    port: u16,
    /// `None` while it is stopped.
    running: Option<Running>,
    kind: PhantomData<K>,
}

#[derive(Debug)]
struct Running {
    server: Child,
    /// Kills the server when this process ends without dropping it: its input ends then.
    watcher: Child,
    _open: Option<ChildStdin>,
}

impl<K: Kind> Server<K> {
    /// A server with the program's own settings: persistence as it comes, which syncs to disk now and then at most.
    ///
    /// # Errors
    /// There is no program, or it does not come up; the error has the end of its log.
    pub fn start() -> Result<Self> {
        Self::with_config("")
    }

    /// A server that answers once what it was given is on disk.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn synced() -> Result<Self> {
        Self::with_config(K::SYNCED)
    }

    /// A server with more settings, in the language of its configuration file.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn with_config(config: &str) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let program = K::program()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("tok-{}-{}-{number}-{now:x}", K::SCHEME, process::id());
        let folder = env::temp_dir().join(name);
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let mut server = Self { program, folder, port: 0, running: None, kind: PhantomData };
        fs::create_dir_all(server.data_dir()).context("cannot create the data folder")?;
        fs::write(server.config(), config).context("cannot write the configuration")?;
        let mut attempts = 1;
        loop {
            server.port = free_port()?;
            match server.launch() {
                Ok(()) => return Ok(server),
                Err(error) if attempts == PORTS || !server.port_was_taken() => return Err(error),
                Err(_) => attempts += 1,
            }
        }
    }

    /// Where clients connect, with the scheme of this kind of server.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}://{}", K::SCHEME, self.addr())
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// The folder with its data.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Ends it at once, as a crash does (`SIGKILL`), whether it runs, is suspended or has ended.
    ///
    /// # Errors
    /// The process cannot be ended.
    pub fn kill(&mut self) -> Result<()> {
        let Some(mut running) = self.running.take() else { return Ok(()) };
        running.server.kill().context("cannot kill the server")?;
        running.end()
    }

    /// Asks it to end (`SIGTERM`) and waits until it has.
    ///
    /// # Errors
    /// It has not ended after 30 seconds; it is killed then.
    pub fn stop(&mut self) -> Result<()> {
        let Some(running) = &self.running else { return Ok(()) };
        signal(running.server.id(), "TERM")?;
        let deadline = Instant::now() + PATIENCE;
        let running = self.running.as_mut().context("it runs")?;
        while running.server.try_wait().context("cannot wait for the server")?.is_none() {
            if Instant::now() > deadline {
                self.kill()?;
                bail!("the server has not ended in {} s", PATIENCE.as_secs());
            }
            pause();
        }
        self.kill()
    }

    /// Stops it from running, connections and all, until [`resume`](Self::resume): to its clients it falls silent
    /// (`SIGSTOP`). Once this returns it answers nothing more.
    ///
    /// # Errors
    /// It is not running.
    pub fn suspend(&self) -> Result<()> {
        let pid = self.running.as_ref().context("the server is not running")?.server.id();
        signal(pid, "STOP")?;
        let deadline = Instant::now() + PATIENCE;
        // Each of its threads stops when it next looks.
        while !is_stopped(pid)? {
            ensure!(Instant::now() < deadline, "process {pid} has not stopped in {} s", PATIENCE.as_secs());
            pause();
        }
        Ok(())
    }

    /// Lets it go on (`SIGCONT`).
    ///
    /// # Errors
    /// It is not running.
    pub fn resume(&self) -> Result<()> {
        signal(self.running.as_ref().context("the server is not running")?.server.id(), "CONT")
    }

    /// Starts it again on the same port with the data that it had; kills it first if it runs.
    ///
    /// # Errors
    /// As [`start`](Self::start); also when another process has taken the port meanwhile.
    pub fn restart(&mut self) -> Result<()> {
        self.kill()?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.launch() {
                // A connection that was on the port can hold it for a moment.
                Err(_) if self.port_was_taken() && Instant::now() < deadline => pause(),
                result => return result,
            }
        }
    }

    /// Kills it and forgets its data; [`restart`](Self::restart) starts it empty.
    ///
    /// # Errors
    /// The data cannot be removed.
    pub fn wipe(&mut self) -> Result<()> {
        self.kill()?;
        fs::remove_dir_all(self.data_dir()).context("cannot remove the data")?;
        fs::create_dir_all(self.data_dir()).context("cannot create the data folder")
    }

    fn config(&self) -> PathBuf {
        self.folder.join("config")
    }

    fn log(&self) -> String {
        fs::read(self.folder.join("log"))
            .map(|log| String::from_utf8_lossy(&log).into_owned())
            .unwrap_or_default()
    }

    fn port_was_taken(&self) -> bool {
        self.log().to_lowercase().contains("address already in use")
    }

    fn launch(&mut self) -> Result<()> {
        let log = File::create(self.folder.join("log")).context("cannot write the log")?;
        let errors = log.try_clone().context("cannot share the log")?;
        let server = K::command(&self.program, &self.config(), &self.data_dir(), self.port)
            .current_dir(self.data_dir())
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .with_context(|| format!("cannot run {}", self.program.display()))?;
        let mut running = Running::watch(server, &self.folder)?;
        let deadline = Instant::now() + PATIENCE;
        let pid = running.server.id();
        while let Err(error) = K::is_ready(self.addr(), pid, &self.data_dir()) {
            let ended = running.server.try_wait().context("cannot wait for the server")?.is_some();
            if ended || Instant::now() > deadline {
                let _ = running.server.kill();
                running.end()?;
                let log = self.log();
                let lines: Vec<_> = log.lines().rev().take(20).collect();
                let end = lines.into_iter().rev().collect::<Vec<_>>().join("\n");
                return Err(error.context(format!("{} does not come up\n{end}", self.program.display())));
            }
            pause();
        }
        self.running = Some(running);
        Ok(())
    }
}

impl Running {
    fn watch(mut server: Child, folder: &Path) -> Result<Self> {
        let spawned = Command::new("sh")
            .args(["-c", r#"read -r _; kill -9 "$1"; rm -rf "$2""#, "sh"])
            .arg(server.id().to_string())
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        match spawned {
            Ok(mut watcher) => Ok(Self { server, _open: watcher.stdin.take(), watcher }),
            Err(error) => {
                let _ = server.kill();
                let _ = server.wait();
                Err(error).context("cannot run sh")
            }
        }
    }

    /// Reaps a server that was killed. The watcher goes first: it would kill whoever has the process's id next.
    fn end(mut self) -> Result<()> {
        self.watcher.kill().context("cannot kill the watcher")?;
        self.watcher.wait().context("cannot wait for the watcher")?;
        self.server.wait().context("cannot wait for the server")?;
        Ok(())
    }
}

impl<K: Kind> Drop for Server<K> {
    fn drop(&mut self) {
        // Nobody is left to tell; what remains of the folder is the system's to clean.
        let _ = self.kill();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl<K: Kind> Debug for Server<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("url", &self.url())
            .field("pid", &self.running.as_ref().map(|running| running.server.id()))
            .finish()
    }
}

fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("there is no free port")?;
    Ok(listener.local_addr().context("a listener without an address")?.port())
}

fn signal(pid: u32, name: &str) -> Result<()> {
    let status = Command::new("sh").args(["-c", r#"kill -"$1" "$2""#, "sh", name, &pid.to_string()]).status();
    ensure!(status.context("cannot run sh")?.success(), "cannot send {name} to process {pid}");
    Ok(())
}

/// Whether every thread of a process is stopped; where there is no `/proc`, whether the process says so.
fn is_stopped(pid: u32) -> Result<bool> {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        let output = Command::new("ps").args(["-o", "state=", "-p", &pid.to_string()]).output();
        return Ok(output.context("cannot run ps")?.stdout.starts_with(b"T"));
    };
    let is_stopped = |thread: &Path| {
        let stat = fs::read_to_string(thread.join("stat")).unwrap_or_default();
        // The state follows the name, which is in brackets and may hold any.
        stat.rsplit_once(')').is_some_and(|(_, after)| after.trim_start().starts_with('T'))
    };
    Ok(threads.flatten().all(|thread| is_stopped(&thread.path())))
}

fn pause() {
    thread::sleep(Duration::from_millis(10)); // sleep: between two looks at a process
}
