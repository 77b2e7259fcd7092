//! A gateway's page of metrics.

use std::{fmt, io, net::SocketAddr};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// What a gateway says of itself.
#[derive(Debug)]
pub(super) struct Page(String);

impl Page {
    pub(super) async fn fetch(addr: SocketAddr) -> io::Result<Self> {
        let mut stream = TcpStream::connect(addr).await?;
        let request = format!("GET /metrics HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        if answer.starts_with("HTTP/1.1 200 ") {
            return Ok(Self(answer));
        }
        Err(io::Error::other(format!("it said {:?}", answer.lines().next().unwrap_or_default())))
    }

    /// A figure without labels.
    pub(super) fn figure(&self, name: &str) -> Option<u64> {
        self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
    }
}

/// The figures of the hub and the cluster, for people.
impl fmt::Display for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let figures = ["sessions", "users_online", "user_entries", "memory_bytes", "cluster_healthy"];
        let cluster = ["cluster_nodes", "cluster_claims", "cluster_repairs"];
        for name in figures.iter().chain(&cluster) {
            if let Some(figure) = self.figure(&format!("tok_{name}")) {
                write!(f, "{name} {figure} ")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_found_by_its_whole_name() {
        let page = Page("# TYPE tok_sessions gauge\ntok_sessions_max 7\ntok_sessions 3\n".to_owned());
        assert_eq!((page.figure("tok_sessions"), page.figure("tok_users_online")), (Some(3), None));
        assert_eq!(page.to_string(), "sessions 3 ");
    }
}
