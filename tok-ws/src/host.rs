use std::net::{IpAddr, Ipv6Addr};

use http::{HeaderMap, Uri, header, uri::Authority};

/// Which `Host` values are served; requests for others are answered with 421. Ports are ignored.
///
/// It protects a server that trusts every client that can reach it: a web page can give its own name the address of such a server
/// (DNS rebinding). The browser then sends the page's requests there, with an `Origin` of the same host as `Host`.
///
/// ```
/// use tok_ws::Hosts;
///
/// let hosts = Hosts::list(["chat.example", "192.0.2.7", "::1"])?;
/// # let _ = hosts;
/// assert!(Hosts::list(["https://chat.example"]).is_err());
/// # Ok::<_, tok_ws::InvalidHost>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Hosts(Policy);

#[derive(Clone, Debug, Default)]
enum Policy {
    #[default]
    Any,
    Loopback,
    List(Vec<Host>),
}

impl Hosts {
    /// Any host. The default.
    #[must_use]
    pub fn any() -> Self {
        Self(Policy::Any)
    }

    /// The names of this machine to itself: `localhost`, 127.0.0.0/8 and `[::1]`.
    #[must_use]
    pub fn loopback() -> Self {
        Self(Policy::Loopback)
    }

    /// These names and addresses and no others. A port that one of them has is ignored.
    ///
    /// # Errors
    /// One of them is not a host.
    pub fn list<I: IntoIterator<Item: AsRef<str>>>(hosts: I) -> Result<Self, InvalidHost> {
        let parse = |host: I::Item| {
            let host = host.as_ref();
            Host::parse(host).ok_or_else(|| InvalidHost(host.into()))
        };
        hosts.into_iter().map(parse).collect::<Result<_, _>>().map(|list| Self(Policy::List(list)))
    }

    pub(crate) fn allow(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        if matches!(self.0, Policy::Any) {
            return true;
        }
        let Some(host) = requested(uri, headers).and_then(Host::parse) else { return false };
        match &self.0 {
            Policy::Any => true,
            Policy::List(list) => list.contains(&host),
            Policy::Loopback => match host {
                Host::Name(name) => name == "localhost",
                Host::Addr(addr) => addr.is_loopback(),
            },
        }
    }
}

/// The host that a request asks for, with its port. A target in absolute form counts before the header (RFC 9112
/// section 3.2.2), and HTTP/2 has nothing else. `None` if there are several headers.
pub(crate) fn requested<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    if let Some(authority) = uri.authority() {
        return Some(authority.as_str());
    }
    let mut hosts = headers.get_all(header::HOST).iter();
    hosts.next().filter(|_| hosts.next().is_none())?.to_str().ok()
}

/// [`Hosts::list`] was given something else than a host such as `chat.example`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a host: expected a name or an IP address")]
pub struct InvalidHost(Box<str>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    /// In lower case, without the dot of the root.
    Name(String),
    Addr(IpAddr),
}

impl Host {
    fn parse(text: &str) -> Option<Self> {
        if let Ok(addr) = text.parse::<Ipv6Addr>() {
            return Some(Self::Addr(addr.into()));
        }
        // A request has no user name before its host.
        let authority: Authority = text.parse().ok().filter(|_| !text.contains('@'))?;
        let host = authority.host();
        // The parser lets any text stand behind the colon.
        let port = &authority.as_str()[host.len()..];
        if port.strip_prefix(':').is_some_and(|port| !port.is_empty() && port.parse::<u16>().is_err()) {
            return None;
        }
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        if let Ok(addr) = bare.unwrap_or(host).parse() {
            return Some(Self::Addr(addr));
        }
        let name = host.strip_suffix('.').unwrap_or(host);
        (!name.is_empty() && bare.is_none()).then(|| Self::Name(name.to_ascii_lowercase()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(hosts: &Hosts, host: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        hosts.allow(&Uri::from_static("/ws"), &headers)
    }

    #[test]
    fn loopback_is_localhost_and_the_loopback_addresses() {
        for (host, allowed) in [
            ("localhost", true),
            ("LocalHost.", true),
            ("localhost:9001", true), // port: text only
            ("127.0.0.1", true),
            ("127.255.0.9:9001", true), // port: text only
            ("[::1]", true),
            ("[::1]:9001", true), // port: text only
            ("[0:0:0:0:0:0:0:1]", true),
            ("evil.example", false),
            ("evil.example:9001", false), // port: text only
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("128.0.0.1", false),
            ("[::2]", false),
            ("0.0.0.0", false),
            ("localhost@evil.example", false),
            ("evil.example:@localhost", false),
            ("localhost:x", false),
            ("", false),
        ] {
            assert_eq!(allows(&Hosts::loopback(), host), allowed, "{host}");
            assert!(allows(&Hosts::any(), host));
        }
    }

    #[test]
    fn a_list_allows_what_it_names_on_any_port() {
        let hosts = Hosts::list(["Chat.Example:443", "::1", "192.0.2.7"]).unwrap();
        let named = ["chat.example", "CHAT.EXAMPLE.:8080", "[::1]:1", "192.0.2.7:80"]; // port: text only
        for host in named {
            assert!(allows(&hosts, host), "{host}");
        }
        for host in ["evil.example", "a.chat.example", "chat.example.evil", "192.0.2.70", "localhost"] {
            assert!(!allows(&hosts, host), "{host}");
        }
    }

    #[test]
    fn the_target_counts_before_the_header_and_two_headers_are_none() {
        let hosts = Hosts::list(["chat.example"]).unwrap();
        let mut headers = HeaderMap::new();
        assert!(!hosts.allow(&Uri::from_static("/ws"), &headers));
        headers.append(header::HOST, "chat.example".parse().unwrap());
        assert!(hosts.allow(&Uri::from_static("/ws"), &headers));
        assert!(!hosts.allow(&Uri::from_static("http://evil.example/ws"), &headers));
        headers.append(header::HOST, "chat.example".parse().unwrap());
        assert!(!hosts.allow(&Uri::from_static("/ws"), &headers));
        assert!(hosts.allow(&Uri::from_static("http://chat.example/ws"), &headers));
    }

    #[test]
    fn what_is_no_host_is_refused_when_it_is_configured() {
        for wrong in ["", "https://a.example", "a/b", "a b", "a@b", "a:x", ":80", "[a]", "[::1"] {
            assert!(Hosts::list([wrong]).is_err(), "{wrong}");
        }
    }
}
