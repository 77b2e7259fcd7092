//! Rules for source files: their size, what code may not contain, and what a test may not do.

use super::mask::{Masked, mask};

/// Above this a file is due to be split.
const WARN_LINES: usize = 400;
/// Above this it must be.
const MAX_LINES: usize = 800;

/// One source file.
#[derive(Debug)]
pub(super) struct Source {
    /// Relative to the root, with slashes.
    pub(super) path: String,
    text: String,
}

impl Source {
    pub(super) fn new(path: String, text: String) -> Self {
        Self { path, text }
    }
}

/// A file that is larger than it should be, and not yet too large.
pub(super) fn warn_size(source: &Source) -> Option<String> {
    let lines = source.text.lines().count();
    (WARN_LINES < lines && lines <= MAX_LINES)
        .then(|| format!("{} has {lines} lines; split it above {WARN_LINES}", source.path))
}

/// Every rule that the file breaks, with its line.
pub(super) fn check(source: &Source) -> Vec<String> {
    let mut errors = Vec::new();
    let count = source.text.lines().count();
    if count > MAX_LINES {
        errors.push(format!("{} has {count} lines; the limit is {MAX_LINES}", source.path));
    }
    let Masked { code, uncommented } = mask(&source.text);
    let tests_begin = tests_begin(&source.path, &code);
    let lines = source.text.lines().zip(code.lines()).zip(uncommented.lines());
    for (index, ((line, code), uncommented)) in lines.enumerate() {
        let mut broken = |rule: &str| errors.push(format!("{}:{}: {rule}", source.path, index + 1));
        for unfinished in ["todo!", "unimplemented!", "dbg!"] {
            if has_word(code, unfinished) {
                broken(&format!("`{unfinished}` is not for committed code"));
            }
        }
        if ignores_without_reason(code) {
            broken("an ignored test says why: `#[ignore = \"reason\"]`");
        }
        if index < tests_begin {
            continue;
        }
        if sleeps(code) && !explains(line, "// sleep:") {
            broken("a test waits for events; if it must sleep, the line says why in `// sleep: …`");
        }
        if fixed_port(uncommented) && !explains(line, "// port:") {
            broken(
                "a test binds port 0 and asks which it got; \
                 if the address is only text, the line says so in `// port: …`",
            );
        }
    }
    errors
}

/// The first line of tests: 0 for test files, else where the module of unit tests begins (it is the last item of its
/// file, clippy sees to that).
fn tests_begin(path: &str, code: &str) -> usize {
    if path.contains("/tests/") || path.ends_with("/tests.rs") || path.ends_with("_tests.rs") {
        return 0;
    }
    let lines: Vec<&str> = code.lines().map(str::trim).collect();
    lines
        .windows(2)
        .position(|pair| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod ") && pair[1].ends_with('{'))
        .unwrap_or(usize::MAX)
}

fn ignores_without_reason(code: &str) -> bool {
    code.contains("#[ignore]") || code.contains("#[cfg_attr(") && code.contains("ignore)]")
}

fn sleeps(code: &str) -> bool {
    let imports = code.trim_start().starts_with("use ")
        && ["thread::", "time::"].iter().any(|module| code.contains(module))
        && has_word(code, "sleep");
    imports || has_word(code, "thread::sleep") || has_word(code, "time::sleep")
}

fn fixed_port(uncommented: &str) -> bool {
    ["127.0.0.1:", "localhost:", "0.0.0.0:", "[::1]:"].iter().any(|host| {
        uncommented
            .match_indices(host)
            .any(|(at, _)| uncommented[at + host.len()..].starts_with(|c| matches!(c, '1'..='9')))
    })
}

/// Whether the line carries the comment with something behind it.
fn explains(line: &str, comment: &str) -> bool {
    line.split_once(comment).is_some_and(|(_, why)| !why.trim().is_empty())
}

fn has_word(code: &str, word: &str) -> bool {
    let in_word = |c: char| c.is_alphanumeric() || c == '_';
    let ends_open = word.ends_with(in_word);
    code.match_indices(word).any(|(at, _)| {
        let longer_before = code[..at].ends_with(in_word);
        let longer_behind = ends_open && code[at + word.len()..].starts_with(in_word);
        !longer_before && !longer_behind
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(path: &str, text: &str) -> Vec<String> {
        check(&Source::new(path.to_owned(), text.to_owned()))
    }

    /// The planted line is found where it stands, in a test file and in a module of unit tests.
    fn assert_caught_in_tests(line: &str) {
        let found = errors("a/tests/b.rs", &format!("fn f() {{\n{line}\n}}\n"));
        assert!(found.len() == 1 && found[0].starts_with("a/tests/b.rs:2:"), "{line}: {found:?}");
        let unit = format!("{line}\n#[cfg(test)]\nmod tests {{\n{line}\n}}\n");
        let found = errors("a/src/b.rs", &unit);
        assert!(found.len() == 1 && found[0].starts_with("a/src/b.rs:4:"), "{line}: {found:?}");
        assert_eq!(errors("a/src/b/tests.rs", line).len(), 1, "{line}");
    }

    #[test]
    fn size_passes_warns_and_fails() {
        let file = |lines| Source::new("a/src/b.rs".to_owned(), "\n".repeat(lines));
        for (lines, warned, failed) in
            [(400, false, false), (401, true, false), (800, true, false), (801, false, true)]
        {
            assert_eq!(warn_size(&file(lines)).is_some(), warned, "{lines}");
            assert_eq!(!check(&file(lines)).is_empty(), failed, "{lines}");
        }
    }

    #[test]
    fn unfinished_code_is_caught_everywhere_but_in_text() {
        for word in ["todo!", "unimplemented!", "dbg!"] {
            assert_eq!(errors("a/src/b.rs", &format!("fn f() {{ std::{word}(x) }}")).len(), 1, "{word}");
            let text = format!("// {word}()\nlet a = \"{word}()\";\nmy_{word}();\n");
            assert_eq!(errors("a/tests/b.rs", &text), [""; 0]);
        }
    }

    #[test]
    fn an_ignored_test_needs_a_reason() {
        for line in ["#[ignore]", "#[cfg_attr(miri, ignore)]"] {
            assert_eq!(errors("a/tests/b.rs", line).len(), 1, "{line}");
        }
        for line in ["#[ignore = \"needs a broker\"]", "#[cfg_attr(miri, ignore = \"sockets\")]"] {
            assert_eq!(errors("a/tests/b.rs", line), [""; 0]);
        }
    }

    #[test]
    fn a_sleep_in_a_test_needs_a_reason() {
        for line in [
            "std::thread::sleep(a);",
            "tokio::time::sleep(a).await;",
            "use tokio::time::{sleep, timeout};",
            "time::sleep(a).await; // sleep:",
        ] {
            assert_caught_in_tests(line);
        }
        for line in ["time::sleep(a).await; // sleep: the clock is paused", "time::sleep_until(a).await;"] {
            assert_eq!(errors("a/tests/b.rs", line), [""; 0]);
        }
    }

    #[test]
    fn a_fixed_port_in_a_test_needs_a_reason() {
        for host in ["127.0.0.1", "localhost", "0.0.0.0", "[::1]"] {
            assert_caught_in_tests(&format!("bind(\"{host}:{}\")", 9001));
            let harmless = format!("bind(\"{host}:0\"); f(\"{host}:{}\") // port: parsed only", 9001);
            assert_eq!(errors("a/tests/b.rs", &harmless), [""; 0]);
        }
    }
}
