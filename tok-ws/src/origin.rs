use http::{HeaderMap, Uri, header};

use crate::host;

/// Which web pages may connect, by the `Origin` header that browsers send (RFC 6455 section 10.2).
///
/// A request without the header is not a browser's and passes whatever the policy; it could say anything.
///
/// ```
/// use tok_ws::Origins;
///
/// let origins = Origins::list(["https://chat.example", "http://localhost:8080"])?; // port: text only
/// # let _ = origins;
/// assert!(Origins::list(["chat.example"]).is_err());
/// # Ok::<_, tok_ws::InvalidOrigin>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Origins(Policy);

#[derive(Clone, Debug, Default)]
enum Policy {
    #[default]
    SameHost,
    SameOrigin,
    List(Vec<Origin>),
    Any,
}

impl Origins {
    /// Pages of the host and port that the request itself asks for, over HTTP or HTTPS. The default, because TLS may end
    /// before this server. Where TLS ends in this server, use [`same_origin`](Self::same_origin).
    #[must_use]
    pub fn same_host() -> Self {
        Self(Policy::SameHost)
    }

    /// Pages of the host and port that the request itself asks for, over HTTPS alone. For a server in which TLS ends:
    /// a page over HTTP can come from an attacker who controls the network in between.
    #[must_use]
    pub fn same_origin() -> Self {
        Self(Policy::SameOrigin)
    }

    /// Any page on the web. Only where no cookie or other ambient credential logs a user in.
    #[must_use]
    pub fn any() -> Self {
        Self(Policy::Any)
    }

    /// These origins and no others, each as scheme, host and, where it is not the scheme's default, port.
    ///
    /// Two more can be named: `null`, which browsers send for files and sandboxed frames, and `file://`, which some
    /// applications with a browser inside send. Any web page can put itself into a frame whose origin is `null`, so
    /// allow it only where a token in the request proves who the user is.
    ///
    /// # Errors
    /// One of them is not an origin.
    pub fn list<I: IntoIterator<Item: AsRef<str>>>(origins: I) -> Result<Self, InvalidOrigin> {
        let parse = |origin: I::Item| {
            let origin = origin.as_ref();
            Origin::parse(origin).ok_or_else(|| InvalidOrigin(origin.into()))
        };
        origins.into_iter().map(parse).collect::<Result<_, _>>().map(|list| Self(Policy::List(list)))
    }

    pub(crate) fn allow(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        let mut origins = headers.get_all(header::ORIGIN).iter();
        let Some(origin) = origins.next() else {
            return true;
        };
        if matches!(self.0, Policy::Any) {
            return true;
        }
        let Some(origin) = origin.to_str().ok().and_then(Origin::parse).filter(|_| origins.next().is_none())
        else {
            return false;
        };
        let schemes: &[&str] = match &self.0 {
            Policy::Any => return true,
            Policy::List(list) => return list.contains(&origin),
            Policy::SameHost => &["http", "https"],
            Policy::SameOrigin => &["https"],
        };
        let Origin::Tuple { scheme, .. } = &origin else { return false };
        let own = host::requested(uri, headers).and_then(|host| Origin::tuple(scheme, host));
        schemes.contains(&scheme.as_str()) && own.is_some_and(|own| own == origin)
    }
}

/// [`Origins::list`] was given something else than an origin such as `https://chat.example`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an origin: expected scheme://host or scheme://host:port")]
pub struct InvalidOrigin(Box<str>);

/// Two origins are the same when these are (RFC 6454 section 5).
#[derive(Clone, Debug, PartialEq, Eq)]
enum Origin {
    /// Scheme and host in lower case, and the port.
    Tuple { scheme: String, host: String, port: Option<u16> },
    /// `null`: an origin that the browser does not tell.
    Null,
    /// `file://`: files have no host.
    File,
}

impl Origin {
    fn parse(origin: &str) -> Option<Self> {
        match origin {
            "null" => Some(Self::Null),
            _ if origin.eq_ignore_ascii_case("file://") => Some(Self::File),
            _ => {
                let (scheme, authority) = origin.split_once("://")?;
                Self::tuple(&scheme.to_ascii_lowercase(), authority)
            }
        }
    }

    fn tuple(scheme: &str, authority: &str) -> Option<Self> {
        let valid_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        if !valid_scheme || authority.contains(['/', '?', '#', '@', '\\', ' ']) {
            return None;
        }
        let authority: http::uri::Authority = authority.parse().ok()?;
        let default = match scheme {
            "http" | "ws" => Some(80),
            "https" | "wss" => Some(443),
            _ => None,
        };
        let host = authority.host().to_ascii_lowercase();
        // A port that is no number must not pass for the default one.
        let written = &authority.as_str()[authority.host().len()..];
        let port = match written.strip_prefix(':') {
            None => default,
            Some(port) => Some(port.parse().ok()?),
        };
        (!host.is_empty()).then(|| Self::Tuple { scheme: scheme.into(), host, port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(origins: &Origins, host: &str, origin: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        headers.insert(header::ORIGIN, origin.parse().unwrap());
        origins.allow(&Uri::from_static("/ws"), &headers)
    }

    #[test]
    fn the_same_host_is_the_same_host_and_port() {
        let table = [
            ("chat.example", "https://chat.example", true),
            ("chat.example", "http://chat.example", true),
            ("Chat.Example:443", "https://chat.example", true),
            ("chat.example:8080", "http://chat.example:8080", true),
            ("[::1]:8080", "http://[::1]:8080", true), // port: text only
            ("chat.example", "http://chat.example:8080", false),
            ("chat.example:8080", "http://chat.example", false),
            ("chat.example:80", "https://chat.example", false),
            ("chat.example", "https://evil.example", false),
            ("chat.example", "https://chat.example.evil.example", false),
            ("chat.example", "https://evil-chat.example", false),
            ("chat.example", "https://chat.example@evil.example", false),
            ("chat.example", "https://evil.example/chat.example", false),
            ("chat.example", "https://chat.example:443x", false),
            ("localhost", "capacitor://localhost", false),
            ("chat.example", "null", false),
            ("chat.example", "file://", false),
            ("chat.example", "chat.example", false),
            ("chat.example", "", false),
        ];
        for (host, origin, allowed) in table {
            assert_eq!(allows(&Origins::same_host(), host, origin), allowed, "{origin} on {host}");
        }
    }

    #[test]
    fn the_same_origin_is_the_same_host_over_https() {
        for (host, origin, allowed) in [
            ("chat.example", "https://chat.example", true),
            ("chat.example:8443", "https://chat.example:8443", true),
            ("chat.example", "http://chat.example", false),
            ("chat.example:8443", "http://chat.example:8443", false),
            ("chat.example", "https://evil.example", false),
            ("chat.example", "null", false),
        ] {
            assert_eq!(allows(&Origins::same_origin(), host, origin), allowed, "{origin} on {host}");
        }
    }

    #[test]
    fn null_files_and_the_schemes_of_applications_can_be_named() {
        let named = ["null", "file://", "capacitor://localhost", "chrome-extension://abc"];
        for origin in named {
            let origins = Origins::list([origin]).unwrap();
            for other in named {
                assert_eq!(allows(&origins, "localhost", other), origin == other, "{other} with {origin}");
            }
            assert!(!allows(&origins, "localhost", "https://evil.example"), "{origin}");
            assert!(!allows(&origins, "localhost", "http://localhost"), "{origin}");
        }
    }

    #[test]
    fn a_list_allows_what_it_names() {
        let origins = Origins::list(["https://Chat.example", "http://localhost:8080"]).unwrap(); // port: text only
        assert!(allows(&origins, "other", "https://chat.example:443"));
        assert!(allows(&origins, "other", "http://localhost:8080")); // port: text only
        assert!(!allows(&origins, "chat.example", "http://chat.example"));
        assert!(!allows(&origins, "localhost:8080", "null")); // port: text only
        assert!(allows(&Origins::any(), "chat.example", "null"));
    }

    #[test]
    fn without_the_header_every_policy_passes_and_with_two_none_but_any() {
        let mut headers = HeaderMap::new();
        let list = Origins::list(["https://a.example"]).unwrap();
        assert!(list.allow(&Uri::from_static("/"), &headers));
        for _ in 0..2 {
            headers.append(header::ORIGIN, "https://a.example".parse().unwrap());
        }
        assert!(!list.allow(&Uri::from_static("/"), &headers));
    }

    #[test]
    fn what_is_no_origin_is_refused_when_it_is_configured() {
        for wrong in
            ["", "a.example", "https://", "https://a.example/", "https://a.example:x", "://a", "file:///a"]
        {
            assert!(Origins::list([wrong]).is_err(), "{wrong}");
        }
    }
}
