use axum::{
    Router,
    http::header,
    response::{IntoResponse, Response},
    routing::get,
};

const HTML: &str = include_str!("../../web/index.html");
const SCRIPT: &str = include_str!("../../web/app.js");
const CONNECTION: &str = include_str!("../../web/connection.js");
const STYLE: &str = include_str!("../../web/style.css");
const ICON: &str = include_str!("../../web/icon.svg");

/// What the page may load and do: its own files and connections to this server, nothing else. A name or a text with
/// HTML in it could not run even if the page forgot to escape it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The page's files, compiled in.
pub(super) fn router() -> Router {
    Router::new()
        .route("/", get(|| async { file("text/html; charset=utf-8", HTML) }))
        .route("/app.js", get(|| async { file("text/javascript; charset=utf-8", SCRIPT) }))
        .route("/connection.js", get(|| async { file("text/javascript; charset=utf-8", CONNECTION) }))
        .route("/style.css", get(|| async { file("text/css; charset=utf-8", STYLE) }))
        .route("/icon.svg", get(|| async { file("image/svg+xml", ICON) }))
}

fn file(content_type: &'static str, content: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        // A server of a newer version brings a newer page.
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, content).into_response()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tok_core::{CloseReason, Reconnect};

    use super::*;

    /// The page acts on close codes; the table is the library's.
    #[test]
    fn the_page_knows_when_not_to_come_back() {
        let expected: BTreeMap<u16, &str> = CloseReason::ALL
            .iter()
            .filter_map(|reason| match reason.reconnect() {
                Reconnect::Never => Some((reason.code(), "never")),
                Reconnect::Later => Some((reason.code(), "later")),
                _ => None,
            })
            .collect();
        let table = CONNECTION.split_once("const RECONNECT = {").unwrap().1.split_once("};").unwrap().0;
        let in_page: BTreeMap<u16, &str> = table
            .lines()
            .filter_map(|line| line.split("//").next()?.trim().strip_suffix(','))
            .filter_map(|row| {
                let (code, what) = row.split_once(": ")?;
                Some((code.parse().ok()?, what.trim_matches('"')))
            })
            .collect();
        assert_eq!(in_page, expected);
    }

    #[test]
    fn the_page_loads_nothing_from_elsewhere() {
        for file in [HTML, SCRIPT, CONNECTION, STYLE] {
            assert!(!file.contains("//cdn") && !file.contains("https://"), "an address of another server");
        }
        assert!(!HTML.contains("style=") && !HTML.contains("onclick"), "the policy forbids inline code");
    }
}
