use std::{borrow::Cow, fmt, net::SocketAddr};

use base64::{Engine as _, alphabet, engine::general_purpose as base64_engine};
use bytes::Bytes;
use http::{
    Extensions, HeaderMap, HeaderValue, Method, Response, StatusCode, Uri, Version, header, request::Parts,
};
use http_body_util::Full;
use tok_core::transport::PeerAddr;

use crate::form;

/// The request that asks for a WebSocket: what authentication has to go by.
///
/// ```
/// use tok_core::{Device, Refusal};
/// use tok_ws::UpgradeHead;
///
/// async fn authenticate(head: UpgradeHead) -> Result<Device, Refusal> {
///     let uid = head.query("uid").ok_or_else(|| Refusal::bad_request("no uid"))?;
///     match head.headers().get("authorization") {
///         Some(token) if token == "Bearer secret" => Ok(Device::new(uid.as_ref())),
///         _ => Err(Refusal::unauthorized("bad token")),
///     }
/// }
/// ```
#[derive(Clone)]
pub struct UpgradeHead {
    uri: Uri,
    headers: HeaderMap,
    extensions: Extensions,
    peer: Option<PeerAddr>,
    subprotocol: Option<HeaderValue>,
}

impl UpgradeHead {
    /// The head of a checked request; `preferred` are the server's subprotocols, the best first.
    pub(crate) fn new(parts: Parts, peer: Option<PeerAddr>, preferred: &[HeaderValue]) -> Self {
        let Parts { uri, headers, extensions, .. } = parts;
        let peer = peer.or_else(|| peer_in(&extensions));
        let mut head = Self { uri, headers, extensions, peer, subprotocol: None };
        let offered =
            |ours: &&HeaderValue| head.subprotocols().any(|name| name.as_bytes() == ours.as_bytes());
        head.subprotocol = preferred.iter().find(offered).cloned();
        head
    }

    /// The request's target.
    #[must_use]
    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    /// The path of the target.
    #[must_use]
    pub fn path(&self) -> &str {
        self.uri.path()
    }

    /// The first value under `name` in the query, decoded as HTML forms are (`%20` and `+` are a space). Bytes that are
    /// not UTF-8 become U+FFFD, so different values can become the same text: read names and secrets with
    /// [`query_bytes`](Self::query_bytes).
    #[must_use]
    pub fn query(&self, name: &str) -> Option<Cow<'_, str>> {
        self.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// The bytes of the first value under `name` in the query, decoded as HTML forms are.
    #[must_use]
    pub fn query_bytes(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        form::field(self.uri.query().unwrap_or_default().as_bytes(), name)
    }

    /// All names and values in the query, decoded as HTML forms are.
    pub fn query_pairs(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        form_urlencoded::parse(self.uri.query().unwrap_or_default().as_bytes())
    }

    /// The headers: cookies, tokens, and what proxies have added.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The values that middleware and the server have put into the request: a user whom a layer has checked, say.
    ///
    /// ```
    /// use tok_core::{Device, Refusal};
    /// use tok_ws::UpgradeHead;
    ///
    /// /// What a layer before the handler inserts.
    /// #[derive(Clone)]
    /// struct User(String);
    ///
    /// async fn authenticate(head: UpgradeHead) -> Result<Device, Refusal> {
    ///     let User(name) = head.extensions().get().ok_or_else(|| Refusal::unauthorized("no user"))?;
    ///     Ok(Device::new(name.as_str()))
    /// }
    /// ```
    #[must_use]
    pub fn extensions(&self) -> &Extensions {
        &self.extensions
    }

    /// The address that the connection comes from. Behind a proxy it is the proxy's address.
    ///
    /// [`serve`](crate::serve) knows the address of every connection. Under another server the address is taken from
    /// the request's extensions: a [`PeerAddr`], else a [`std::net::SocketAddr`], else, with the feature `axum`, the
    /// `ConnectInfo<SocketAddr>` of axum 0.8, which is there if the router is served with
    /// `into_make_service_with_connect_info::<SocketAddr>()`. Without any of them it is `None`.
    #[must_use]
    pub fn remote_addr(&self) -> Option<PeerAddr> {
        self.peer
    }

    /// The subprotocols that the client offers, in its order.
    pub fn subprotocols(&self) -> impl Iterator<Item = &str> {
        tokens(&self.headers, &header::SEC_WEBSOCKET_PROTOCOL)
    }

    /// The subprotocol chosen: the first of the server's that the client offers.
    #[must_use]
    pub fn subprotocol(&self) -> Option<&str> {
        self.subprotocol.as_ref()?.to_str().ok()
    }

    pub(crate) fn chosen(&self) -> Option<&HeaderValue> {
        self.subprotocol.as_ref()
    }
}

impl fmt::Debug for UpgradeHead {
    // Query and headers may hold tokens, so they stay out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpgradeHead")
            .field("path", &self.path())
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

/// The address that a server other than [`serve`](crate::serve) has put into the request.
fn peer_in(extensions: &Extensions) -> Option<PeerAddr> {
    if let Some(peer) = extensions.get::<PeerAddr>() {
        return Some(*peer);
    }
    let addr = extensions.get::<SocketAddr>().copied();
    #[cfg(feature = "axum")]
    let addr = addr.or_else(|| {
        let info = extensions.get::<axum::extract::ConnectInfo<SocketAddr>>()?;
        Some(info.0)
    });
    addr.map(PeerAddr::Ip)
}

/// How a checked request is answered.
#[derive(Clone, Debug)]
pub(crate) enum Handshake {
    /// With a 101 that shows that the `Sec-WebSocket-Key` was read.
    Upgrade(HeaderValue),
    /// With a 200 on a stream of HTTP/2.
    Connect,
}

/// Why there is no 101.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rejection {
    pub(crate) status: StatusCode,
    pub(crate) reason: Cow<'static, str>,
}

impl Rejection {
    pub(crate) const fn new(status: StatusCode, reason: &'static str) -> Self {
        Self { status, reason: Cow::Borrowed(reason) }
    }

    pub(crate) fn response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(Bytes::from(self.reason.into_owned())));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        let text = HeaderValue::from_static("text/plain; charset=utf-8");
        headers.insert(header::CONTENT_TYPE, text);
        if self.status == StatusCode::UPGRADE_REQUIRED {
            // Both are asked for by RFC 9110 section 15.5.22 and RFC 6455 section 4.4.
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        }
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(header::ALLOW, HeaderValue::from_static("GET"));
        }
        response
    }
}

/// Checks a request against RFC 6455 section 4.2.1, or RFC 8441 section 5.
pub(crate) fn validate(parts: &Parts) -> Result<Handshake, Rejection> {
    let headers = &parts.headers;
    if is_extended_connect(parts) {
        return version(headers).map(|()| Handshake::Connect);
    }
    if parts.method != Method::GET {
        return Err(Rejection::new(StatusCode::METHOD_NOT_ALLOWED, "a WebSocket is asked for with GET"));
    }
    if parts.version != Version::HTTP_11 {
        return Err(Rejection::new(StatusCode::HTTP_VERSION_NOT_SUPPORTED, "a WebSocket needs HTTP/1.1"));
    }
    if !has_token(headers, &header::UPGRADE, "websocket") {
        return Err(Rejection::new(StatusCode::UPGRADE_REQUIRED, "only WebSockets are served here"));
    }
    if !has_token(headers, &header::CONNECTION, "upgrade") {
        return Err(bad("Connection does not name upgrade"));
    }
    if one(headers, &header::HOST).is_none() {
        return Err(bad("there must be one Host"));
    }
    version(headers)?;
    let no_body = headers.get_all(header::CONTENT_LENGTH).iter().all(|length| length == "0");
    if !no_body || headers.contains_key(header::TRANSFER_ENCODING) {
        return Err(bad("a handshake has no body"));
    }
    let key = one(headers, &header::SEC_WEBSOCKET_KEY).filter(|key| is_key(key.as_bytes()));
    key.cloned()
        .map(Handshake::Upgrade)
        .ok_or_else(|| bad("there must be one Sec-WebSocket-Key of 16 bytes in base64"))
}

#[cfg(feature = "http2")]
fn is_extended_connect(parts: &Parts) -> bool {
    let protocol = parts.extensions.get::<hyper::ext::Protocol>();
    parts.method == Method::CONNECT && protocol.is_some_and(|protocol| protocol.as_str() == "websocket")
}

#[cfg(not(feature = "http2"))]
fn is_extended_connect(_: &Parts) -> bool {
    false
}

fn version(headers: &HeaderMap) -> Result<(), Rejection> {
    match one(headers, &header::SEC_WEBSOCKET_VERSION).map(HeaderValue::as_bytes) {
        Some(b"13") => Ok(()),
        Some(_) => Err(Rejection::new(StatusCode::UPGRADE_REQUIRED, "only version 13 is spoken here")),
        None => Err(bad("there must be one Sec-WebSocket-Version")),
    }
}

/// The answer to a request that passed.
pub(crate) fn switching(handshake: &Handshake, head: &UpgradeHead) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    if let Handshake::Upgrade(key) = handshake {
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept(key));
    }
    if let Some(subprotocol) = head.chosen() {
        response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, subprotocol.clone());
    }
    response
}

fn accept(key: &HeaderValue) -> HeaderValue {
    // RFC 6455 section 4.2.2.
    let mut sha1 = sha1_smol::Sha1::new();
    sha1.update(key.as_bytes());
    sha1.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let accept = base64_engine::STANDARD.encode(sha1.digest().bytes());
    // Base64 is made of characters that a header may hold, so the empty value never shows.
    HeaderValue::try_from(accept).unwrap_or_else(|_| HeaderValue::from_static(""))
}

fn is_key(key: &[u8]) -> bool {
    // Some clients set the last four bits, which stand for nothing.
    const LENIENT: base64_engine::GeneralPurpose = base64_engine::GeneralPurpose::new(
        &alphabet::STANDARD,
        base64_engine::GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
    );
    let mut bytes = [0; 18];
    key.len() == 24 && LENIENT.decode_slice(key, &mut bytes) == Ok(16)
}

const fn bad(reason: &'static str) -> Rejection {
    Rejection::new(StatusCode::BAD_REQUEST, reason)
}

/// The value of a header that is there once.
fn one<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

/// The elements of a header that is a list, over all its lines.
fn tokens<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|token| !token.is_empty())
}

fn has_token(headers: &HeaderMap, name: &header::HeaderName, token: &str) -> bool {
    tokens(headers, name).any(|found| found.eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn the_example_of_the_rfc() {
        let key = HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(accept(&key), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn keys_are_sixteen_bytes() {
        for (key, valid) in [
            ("dGhlIHNhbXBsZSBub25jZQ==", true),
            ("dGhlIHNhbXBsZSBub25jZR==", true),
            ("dGhlIHNhbXBsZSBub25jZQ", false),
            ("dGhlIHNhbXBsZSBub25jZQ=a", false),
            ("dGhlIHNhbXBsZSBub25jZTEy", false),
            ("dGhlIHNhbXBsZSBub25jZ!==", false),
            ("", false),
        ] {
            assert_eq!(is_key(key.as_bytes()), valid, "{key}");
        }
    }

    #[test]
    fn the_servers_preference_chooses_the_subprotocol() {
        let head = |offered: &[&str]| {
            let mut request = Request::builder().uri("/ws?uid=a+b&uid=c&x=%2F");
            for line in offered {
                request = request.header("sec-websocket-protocol", *line);
            }
            let ours = [HeaderValue::from_static("v2"), HeaderValue::from_static("v1")];
            UpgradeHead::new(request.body(()).unwrap().into_parts().0, None, &ours)
        };
        assert_eq!(head(&["v1, v2"]).subprotocol(), Some("v2"));
        assert_eq!(head(&["other", "x,v1"]).subprotocol(), Some("v1"));
        assert_eq!(head(&["V1"]).subprotocol(), None);
        assert_eq!(head(&[]).subprotocol(), None);
        assert_eq!(head(&[]).query("uid").as_deref(), Some("a b"));
        assert_eq!(head(&[]).query("x").as_deref(), Some("/"));
        assert_eq!(head(&[]).query_bytes("uid").as_deref(), Some(&b"a b"[..]));
        assert_eq!(head(&[]).query_bytes("none"), None);
        assert!(!format!("{:?}", head(&[])).contains("uid"));
    }

    fn head_with(extensions: Extensions) -> UpgradeHead {
        let mut request = Request::get("/ws").body(()).unwrap();
        *request.extensions_mut() = extensions;
        UpgradeHead::new(request.into_parts().0, None, &[])
    }

    #[test]
    fn extensions_reach_the_authenticator_and_stay_out_of_logs() {
        let mut extensions = Extensions::new();
        extensions.insert("secret of a middleware");
        let head = head_with(extensions);
        assert_eq!(head.extensions().get(), Some(&"secret of a middleware"));
        assert_eq!(head.clone().extensions().get::<u8>(), None);
        assert!(!format!("{head:?}").contains("secret"));
    }

    #[test]
    fn the_address_is_taken_from_extensions_unless_the_server_knows_it() {
        let addr = |text: &str| text.parse::<SocketAddr>().unwrap();
        let mut extensions = Extensions::new();
        assert_eq!(head_with(extensions.clone()).remote_addr(), None);
        #[cfg(feature = "axum")]
        {
            extensions.insert(axum::extract::ConnectInfo(addr("[2001:db8::1]:1")));
            let expected = Some(PeerAddr::Ip(addr("[2001:db8::1]:1")));
            assert_eq!(head_with(extensions.clone()).remote_addr(), expected);
        }
        extensions.insert(addr("192.0.2.1:2"));
        assert_eq!(head_with(extensions.clone()).remote_addr(), Some(PeerAddr::Ip(addr("192.0.2.1:2"))));
        extensions.insert(PeerAddr::Unix);
        assert_eq!(head_with(extensions.clone()).remote_addr(), Some(PeerAddr::Unix));

        let mut request = Request::get("/ws").body(()).unwrap();
        *request.extensions_mut() = extensions;
        let known = Some(PeerAddr::Ip(addr("198.51.100.1:3")));
        assert_eq!(UpgradeHead::new(request.into_parts().0, known, &[]).remote_addr(), known);
    }
}
