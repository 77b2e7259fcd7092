//! Every numbered invariant of `ARCHITECTURE.md`, and every failure of `docs/failures.md`, names the test or the command
//! that enforces it.
//!
//! An invariant begins with a line `**N. …` and ends before the next one or the next heading. It names tests as
//! `path/to/file.rs::test_name` and commands as `cargo xtask NAME`, in backticks.

/// Checks a document's text against the files that `read` finds.
pub(super) fn check(
    document: &str,
    text: &str,
    commands: &[&str],
    read: impl Fn(&str) -> Option<String>,
) -> Vec<String> {
    let mut errors = Vec::new();
    let invariants = invariants(text);
    if invariants.is_empty() {
        errors.push(format!("{document} has no numbered invariant (a line that begins `**1. `)"));
    }
    for (number, body) in invariants {
        let mut enforcers = 0;
        for span in body.split('`').skip(1).step_by(2) {
            let span = span.split_whitespace().collect::<Vec<_>>().join(" ");
            let problem = if let Some(command) = span.strip_prefix("cargo xtask ") {
                check_command(command, commands)
            } else if let Some((file, test)) = span.split_once(".rs::") {
                check_test(&format!("{file}.rs"), test, &read)
            } else {
                continue;
            };
            enforcers += 1;
            errors.extend(problem.map(|problem| format!("{document}: invariant {number}: {problem}")));
        }
        if enforcers == 0 {
            errors.push(format!("{document}: invariant {number} names no test and no command"));
        }
    }
    errors
}

fn invariants(text: &str) -> Vec<(&str, String)> {
    let mut found: Vec<(&str, String)> = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        if let Some(number) = number(line) {
            found.push((number, String::new()));
            inside = true;
        } else if line.starts_with('#') {
            inside = false;
        }
        if let (true, Some((_, body))) = (inside, found.last_mut()) {
            body.push_str(line);
            body.push('\n');
        }
    }
    found
}

fn number(line: &str) -> Option<&str> {
    let (number, _) = line.strip_prefix("**")?.split_once(". ")?;
    (!number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())).then_some(number)
}

fn check_command(command: &str, commands: &[&str]) -> Option<String> {
    let name = command.split(' ').next().unwrap_or_default();
    (!commands.contains(&name)).then(|| format!("there is no `cargo xtask {name}`"))
}

fn check_test(file: &str, test: &str, read: &impl Fn(&str) -> Option<String>) -> Option<String> {
    let Some(text) = read(file) else { return Some(format!("there is no file {file}")) };
    // A test may stand in a module: `tests::name`.
    let name = test.rsplit("::").next().unwrap_or(test);
    let code = super::mask::mask(&text).code;
    let defined = code.contains(&format!("fn {name}(")) || code.contains(&format!("fn {name}<"));
    (!defined).then(|| format!("{file} has no `fn {name}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(text: &str) -> Vec<String> {
        let read = |path: &str| {
            (path == "tok-core/tests/order.rs").then(|| "fn in_order() {}\n// fn gone() {}\n".to_owned())
        };
        check("ARCHITECTURE.md", text, &["tidy"], read)
    }

    #[test]
    fn tests_and_commands_that_exist_pass() {
        let text = "# Invariants\n**1. Order.** Says `tok_core::Hub`.\nEnforced by: `tok-core/tests/order.rs::in_order`\n\
                    **2. Layers.** `cargo xtask tidy`,\n`tok-core/tests/order.rs::tests::in_order`\n";
        assert_eq!(errors(text), [""; 0]);
    }

    #[test]
    fn each_defect_is_named_with_its_invariant() {
        for (body, named) in [
            ("nothing", "invariant 7 names no test"),
            ("`tok-core/tests/gone.rs::in_order`", "no file tok-core/tests/gone.rs"),
            ("`tok-core/tests/order.rs::gone`", "no `fn gone`"),
            ("`tok-core/tests/order.rs::in_orde`", "no `fn in_orde`"),
            ("`cargo xtask no-such --flag`", "no `cargo xtask no-such`"),
            ("nothing\n## Next part\n`cargo xtask tidy`", "names no test"),
            ("nothing\n**8. Next.** `cargo xtask tidy`", "names no test"),
        ] {
            let found = errors(&format!("**7. Rule.** {body}\n"));
            assert_eq!(found.len(), 1, "{body}: {found:?}");
            assert!(found[0].contains(named) && found[0].contains("invariant 7"), "{body}: {found:?}");
        }
    }

    #[test]
    fn a_text_without_invariants_is_an_error() {
        assert_eq!(errors("# Architecture\n1. Order\n**Note. bold**\n").len(), 1);
    }
}
