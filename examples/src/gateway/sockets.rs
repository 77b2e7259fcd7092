//! The listening sockets, before a runtime takes them.

use std::{
    fmt, fs, io,
    net::{SocketAddr, TcpListener},
    os::unix::{
        fs::FileTypeExt,
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

use super::{Error, Flags};

/// Connections that wait to be accepted: a reconnect storm is larger than the 128 of the standard library.
const BACKLOG: i32 = 4096;

/// What the gateway listens on.
#[derive(Debug)]
pub(super) struct Sockets {
    pub(super) ws: Option<TcpListener>,
    pub(super) tcp: Option<TcpListener>,
    pub(super) unix: Option<UnixListener>,
    pub(super) metrics: Option<TcpListener>,
}

/// Where the gateway listens, as its ready line says: only what was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Addresses {
    /// WebSocket.
    pub ws: Option<SocketAddr>,
    /// Frames over TCP.
    pub tcp: Option<SocketAddr>,
    /// Frames over a Unix socket.
    pub unix: Option<PathBuf>,
    /// Metrics, over HTTP.
    pub metrics: Option<SocketAddr>,
}

impl fmt::Display for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ready")?;
        self.ws.map_or(Ok(()), |addr| write!(f, " ws={addr}"))?;
        self.tcp.map_or(Ok(()), |addr| write!(f, " tcp={addr}"))?;
        self.unix.as_ref().map_or(Ok(()), |path| write!(f, " unix={}", path.display()))?;
        self.metrics.map_or(Ok(()), |addr| write!(f, " metrics={addr}"))
    }
}

/// Binds what the flags ask for. The file of the Unix socket goes when the last value is dropped.
pub(super) fn bind(flags: &Flags) -> Result<(Sockets, Addresses, Option<SocketFile>), Error> {
    let ws = flags.ws.map(tcp).transpose()?;
    let metrics = flags.metrics.map(tcp).transpose()?;
    let tcp = flags.tcp.map(tcp).transpose()?;
    let unix = flags.unix.as_deref().map(unix).transpose()?;
    let addresses = Addresses {
        ws: ws.as_ref().map(|(_, addr)| *addr),
        tcp: tcp.as_ref().map(|(_, addr)| *addr),
        unix: flags.unix.clone(),
        metrics: metrics.as_ref().map(|(_, addr)| *addr),
    };
    let (unix, file) = unix.unzip();
    let [ws, tcp, metrics] = [ws, tcp, metrics].map(|bound| bound.map(|(listener, _)| listener));
    Ok((Sockets { ws, tcp, unix, metrics }, addresses, file))
}

fn tcp(addr: SocketAddr) -> Result<(TcpListener, SocketAddr), Error> {
    let listen = || {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        // Accepted connections inherit it. Where clients do not confirm it is what finds out that one has vanished.
        let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(60));
        socket.set_tcp_keepalive(&keepalive.with_interval(Duration::from_secs(15)))?;
        socket.bind(&addr.into())?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        let listener = TcpListener::from(socket);
        let bound = listener.local_addr()?;
        Ok((listener, bound))
    };
    listen().map_err(|cause| Error::Listen { target: addr.to_string(), cause })
}

fn unix(path: &Path) -> Result<(UnixListener, SocketFile), Error> {
    let listen = || {
        remove_stale(path)?;
        let listener = UnixListener::bind(path)?;
        listener.set_nonblocking(true)?;
        Ok((listener, SocketFile(path.to_owned())))
    };
    listen().map_err(|cause| Error::Listen { target: path.display().to_string(), cause })
}

/// Removes a socket that a killed process left behind, and nothing else.
fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(found) if !found.file_type().is_socket() => {
            Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file that is no socket"))
        }
        Ok(_) if UnixStream::connect(path).is_ok() => {
            Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens there"))
        }
        Ok(_) => fs::remove_file(path),
    }
}

/// The file of a Unix socket.
#[derive(Debug)]
pub(super) struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Somebody else may have removed it; there is nothing to do about any other error.
        let _ = fs::remove_file(&self.0);
    }
}
