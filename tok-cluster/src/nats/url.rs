//! Where the servers are, and with what credentials.

use async_nats::{ConnectOptions, ServerAddr};
use tok_core::ConfigError;

/// The servers of a URL, or of several with commas between.
pub(super) fn servers(url: &str) -> Result<Vec<ServerAddr>, ConfigError> {
    url.split(',').map(server).collect::<Option<_>>().ok_or_else(|| ConfigError::Invalid {
        setting: "url",
        // Not the URL itself, which can hold a password.
        value: "no URL of a NATS server".to_owned(),
        rule: "must be nats://USER:PASSWORD@HOST:PORT or tls://.., or several with commas between",
    })
}

fn server(url: &str) -> Option<ServerAddr> {
    let server: ServerAddr = url.parse().ok()?;
    (!server.host().is_empty()).then_some(server)
}

/// Options with the credentials of the first URL that has any: the client itself ignores them.
pub(super) fn options(servers: &[ServerAddr]) -> ConnectOptions {
    let options = ConnectOptions::new();
    let with = servers.iter().find_map(|server| Some((server.username()?, server.password())));
    match with {
        Some((user, Some(password))) => options.user_and_password(decode(user), decode(password)),
        Some((token, None)) => options.token(decode(token)),
        None => options,
    }
}

/// A part of a URL, in which any byte may be spelled `%` and two hexadecimal digits.
fn decode(part: &str) -> String {
    let mut decoded = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let spelled = digits.filter(|_| byte == b'%').and_then(|digits| u8::from_str_radix(digits, 16).ok());
        decoded.push(spelled.unwrap_or(byte));
        rest = if spelled.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_urls_are_decoded() {
        for (part, expected) in [
            ("plain", "plain"),
            ("a%40b%3a", "a@b:"),
            ("%", "%"),
            ("%4", "%4"),
            ("%zz", "%zz"),
            ("%c3%abx", "\u{eb}x"),
        ] {
            assert_eq!(decode(part), expected);
        }
    }

    #[test]
    fn what_is_no_server_is_refused() {
        for url in ["", "http://h", "nats://", "nats://a,,nats://b"] {
            assert!(servers(url).is_err(), "{url}");
        }
        assert_eq!(servers("nats://a,tls://u:p@b:4223").unwrap().len(), 2);
    }
}
