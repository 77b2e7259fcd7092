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
    /// One for each address.
    pub(super) ws: Vec<TcpListener>,
    pub(super) tcp: Vec<TcpListener>,
    pub(super) unix: Option<UnixListener>,
    pub(super) metrics: Vec<TcpListener>,
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
    let (ws, ws_addr) = tcp(&flags.ws)?;
    let (metrics, metrics_addr) = tcp(&flags.metrics)?;
    let (tcp, tcp_addr) = tcp(&flags.tcp)?;
    let unix = flags.unix.as_deref().map(unix).transpose()?;
    let addresses = Addresses { ws: ws_addr, tcp: tcp_addr, unix: flags.unix.clone(), metrics: metrics_addr };
    let (unix, file) = unix.unzip();
    Ok((Sockets { ws, tcp, unix, metrics }, addresses, file))
}

/// Listens on all addresses of a name, on one port. An address that this machine lacks is left out if there is another.
fn tcp(addrs: &[SocketAddr]) -> Result<(Vec<TcpListener>, Option<SocketAddr>), Error> {
    /// The system chooses a port that is free on the first address; on another one it may be taken.
    const ATTEMPTS: u32 = 20;

    let mut attempt = 1;
    loop {
        match tcp_once(addrs) {
            Err(Error::Listen { cause, .. })
                if attempt < ATTEMPTS
                    && addrs.len() > 1
                    && addrs[0].port() == 0
                    && cause.kind() == io::ErrorKind::AddrInUse =>
            {
                attempt += 1;
            }
            result => return result,
        }
    }
}

fn tcp_once(addrs: &[SocketAddr]) -> Result<(Vec<TcpListener>, Option<SocketAddr>), Error> {
    let (mut listeners, mut shown): (Vec<TcpListener>, Option<SocketAddr>) = Default::default();
    let mut lacking = None;
    for addr in addrs {
        let mut addr = *addr;
        if let (0, Some(shown)) = (addr.port(), shown) {
            addr.set_port(shown.port());
        }
        match tcp_on(addr, addrs.len() > 1) {
            Ok((listener, bound)) => {
                shown = shown.or(Some(bound));
                listeners.push(listener);
            }
            Err(cause) => {
                let error = Error::Listen { target: addr.to_string(), cause };
                let is_lacking = matches!(&error, Error::Listen { cause, .. } if is_no_address_here(cause));
                if !is_lacking {
                    return Err(error);
                }
                lacking = Some(error);
            }
        }
    }
    match lacking {
        Some(error) if listeners.is_empty() => Err(error),
        _ => Ok((listeners, shown)),
    }
}

fn is_no_address_here(error: &io::Error) -> bool {
    /// `EAFNOSUPPORT` on Linux: the system has no IPv6, or no IPv4, at all.
    const NO_SUCH_FAMILY: i32 = 97;

    let no_family = cfg!(target_os = "linux") && error.raw_os_error() == Some(NO_SUCH_FAMILY);
    no_family || error.kind() == io::ErrorKind::AddrNotAvailable
}

fn tcp_on(addr: SocketAddr, is_one_of_many: bool) -> io::Result<(TcpListener, SocketAddr)> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if is_one_of_many && addr.is_ipv6() {
        // The addresses of IPv4 have sockets of their own.
        socket.set_only_v6(true)?;
    }
    // Accepted connections inherit it. Where clients do not confirm it is what finds out that one has vanished.
    let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(60));
    socket.set_tcp_keepalive(&keepalive.with_interval(Duration::from_secs(15)))?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    let listener = TcpListener::from(socket);
    let bound = listener.local_addr()?;
    Ok((listener, bound))
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

#[cfg(test)]
mod tests {
    use super::*;

    // Only Linux has all of 127.0.0.0/8 on its loopback.
    #[cfg(target_os = "linux")]
    #[test]
    fn all_addresses_of_a_name_are_bound_on_one_port() {
        // port: chosen by the system
        let addrs = ["127.0.0.1:0", "127.0.0.2:0"].map(|addr| addr.parse().unwrap());
        let (listeners, shown) = tcp(&addrs).unwrap();
        let shown = shown.unwrap();
        assert_eq!(shown.ip(), addrs[0].ip());
        let bound: Vec<_> = listeners.iter().map(|listener| listener.local_addr().unwrap()).collect();
        assert_eq!(bound, addrs.map(|addr: SocketAddr| SocketAddr::new(addr.ip(), shown.port())));
    }

    #[test]
    fn an_address_that_the_machine_lacks_is_left_out_if_there_is_another() {
        // port: chosen by the system; the second address is reserved for documentation
        let [here, lacking] = ["127.0.0.1:0", "192.0.2.1:0"].map(|addr| addr.parse().unwrap());
        assert_eq!(tcp(&[lacking, here]).unwrap().0.len(), 1);
        assert_eq!(tcp(&[here, lacking]).unwrap().0.len(), 1);
        assert!(matches!(tcp(&[lacking]), Err(Error::Listen { .. })));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_port_that_is_taken_on_one_address_is_an_error() {
        let taken = TcpListener::bind("127.0.0.2:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let addrs = ["127.0.0.1", "127.0.0.2"].map(|ip| SocketAddr::new(ip.parse().unwrap(), port));
        assert!(matches!(tcp(&addrs), Err(Error::Listen { .. })));
    }
}
