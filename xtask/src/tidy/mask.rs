//! Blanks out what is not code, so that rules about code are not broken by text that mentions them.

/// A source text twice, with the same lines and columns.
#[derive(Debug)]
pub(super) struct Masked {
    /// Comments, strings and character literals are spaces.
    pub(super) code: String,
    /// Only comments are spaces.
    pub(super) uncommented: String,
}

/// Splits Rust source into code, strings and comments.
pub(super) fn mask(text: &str) -> Masked {
    let chars: Vec<char> = text.chars().collect();
    let mut masked =
        Masked { code: String::with_capacity(text.len()), uncommented: String::with_capacity(text.len()) };
    let mut at = 0;
    while at < chars.len() {
        let rest = &chars[at..];
        let after_word = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
        let (kind, len) = token(rest, after_word);
        for &c in &rest[..len] {
            let blank = if c == '\n' { '\n' } else { ' ' };
            masked.code.push(if kind == Kind::Code { c } else { blank });
            masked.uncommented.push(if kind == Kind::Comment { blank } else { c });
        }
        at += len;
    }
    masked
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Code,
    Text,
    Comment,
}

/// The kind and length (at least 1) of what `rest` begins with.
fn token(rest: &[char], after_word: bool) -> (Kind, usize) {
    match rest {
        ['/', '/', ..] => (Kind::Comment, rest.iter().position(|c| *c == '\n').unwrap_or(rest.len())),
        ['/', '*', ..] => (Kind::Comment, block_comment(rest)),
        ['"', ..] => (Kind::Text, quoted(rest, '"')),
        ['\'', '\\', ..] => (Kind::Text, quoted(rest, '\'')),
        // Without the second quote it is a lifetime.
        ['\'', _, '\'', ..] => (Kind::Text, 3),
        ['b' | 'c', 'r', ..] if !after_word => match raw_string(&rest[1..]) {
            Some(len) => (Kind::Text, len + 1),
            // Both letters, or the `r` would be looked at again as if it began a word.
            None => (Kind::Code, 2),
        },
        ['r', ..] if !after_word => raw_string(rest).map_or((Kind::Code, 1), |len| (Kind::Text, len)),
        _ => (Kind::Code, 1),
    }
}

fn block_comment(rest: &[char]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match rest[at..] {
            ['/', '*', ..] => (depth, at) = (depth + 1, at + 2),
            ['*', '/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn quoted(rest: &[char], quote: char) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != quote {
        at += if rest[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

/// The length of `r"…"` or `r#"…"#` at the front, if it is one and not a name such as `r#type`.
fn raw_string(rest: &[char]) -> Option<usize> {
    let hashes = rest[1..].iter().take_while(|c| **c == '#').count();
    let open = 1 + hashes;
    if rest.get(open) != Some(&'"') {
        return None;
    }
    let body = &rest[open + 1..];
    let end = (0..body.len())
        .find(|at| {
            body[*at] == '"' && body[at + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes
        })
        .map_or(body.len(), |at| at + 1 + hashes);
    Some(open + 1 + end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_code_and_blanks_text_and_comments() {
        for (source, code, uncommented) in [
            ("a // b\nc", "a     \nc", "a     \nc"),
            ("a /* b /* c */ d */ e", "a                   e", "a                   e"),
            (r#"f("a//b\"c") // d"#, r#"f(         )     "#, r#"f("a//b\"c")     "#),
            ("r#\"a\"b\"# c", "         c", "r#\"a\"b\"# c"),
            ("br\"a\\\" c", "       c", "br\"a\\\" c"),
            ("r#type bar\"x\"", "r#type bar   ", "r#type bar\"x\""),
            ("'\"' 'a '\\'' \"x\"", "    'a         ", "'\"' 'a '\\'' \"x\""),
            ("\"a\nb\" c", "  \n   c", "\"a\nb\" c"),
        ] {
            let masked = mask(source);
            assert_eq!((masked.code.as_str(), masked.uncommented.as_str()), (code, uncommented), "{source}");
        }
    }

    #[test]
    fn text_that_ends_too_early_does_not_panic() {
        for source in ["\"a", "\"a\\", "r#\"a\"", "/* a", "'\\", "r", "b", "br", "'", "r#", ""] {
            assert_eq!(mask(source).code.chars().count(), source.chars().count(), "{source}");
        }
    }
}
