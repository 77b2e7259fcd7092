//! Member manifests: all that can be said once is said in the root manifest.

/// One `key = value`, with the table that it stands in.
struct Entry {
    line: usize,
    table: String,
    key: String,
    value: String,
}

/// A member inherits version, edition, MSRV, licence and lints, and names no version of a dependency.
pub(super) fn check(package: &str, manifest: &str) -> Vec<String> {
    let entries = entries(manifest);
    let mut errors = Vec::new();
    let says = |table: &str, key: &str| {
        entries.iter().any(|entry| entry.table == table && entry.key == key && entry.value == "true")
    };
    for key in ["version", "edition", "rust-version", "license"] {
        if !says("package", &format!("{key}.workspace")) {
            errors.push(format!("{package}/Cargo.toml does not say `{key}.workspace = true`"));
        }
    }
    if !says("lints", "workspace") {
        errors.push(format!("{package}/Cargo.toml does not say `workspace = true` under [lints]"));
    }
    errors.extend(entries.iter().filter(|entry| !inherits(entry)).map(|entry| {
        let Entry { line, key, .. } = entry;
        format!(
            "{package}/Cargo.toml:{line}: `{key}` does not come from [workspace.dependencies]; \
             write `NAME = {{ workspace = true, .. }}` on one line"
        )
    }));
    errors
}

/// A dev-dependency by path and without a version is the one exception: cargo leaves it out of what it
/// publishes, and that is what lets crates of one workspace test with each other in a circle.
fn inherits(entry: &Entry) -> bool {
    let Some(kind) = entry.table.split('.').find(|part| part.ends_with("dependencies")) else { return true };
    // `[dependencies.name]` has one way to be written, too: on one line in `[dependencies]`.
    if !entry.table.ends_with(kind) {
        return false;
    }
    let value: String = entry.value.split_whitespace().collect();
    entry.key.ends_with(".workspace") && value == "true"
        || value.contains("workspace=true")
        || kind == "dev-dependencies" && value.contains("path=") && !value.contains("version=")
}

/// Reads as much TOML as manifests use: tables, keys, values on one line, lists over several.
fn entries(manifest: &str) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut table = String::new();
    let mut open = 0;
    for (index, line) in manifest.lines().enumerate() {
        let (line, depth) = uncomment(line);
        let line = line.trim();
        if open > 0 {
            if let Some(entry) = entries.last_mut() {
                entry.value.push_str(line);
            }
            open += depth;
        } else if line.starts_with('[') {
            table = line.trim_matches(['[', ']']).to_owned();
        } else if let Some((key, value)) = line.split_once('=') {
            entries.push(Entry {
                line: index + 1,
                table: table.clone(),
                key: key.trim().to_owned(),
                value: value.trim().to_owned(),
            });
            open = depth;
        }
    }
    entries
}

/// The line without its comment, and how many more brackets it opens than it closes.
fn uncomment(line: &str) -> (&str, i32) {
    let (mut quote, mut depth) = (None, 0);
    for (index, c) in line.char_indices() {
        match (quote, c) {
            (None, '#') => return (&line[..index], depth),
            (None, '"' | '\'') => quote = Some(c),
            (None, '[' | '{') => depth += 1,
            (None, ']' | '}') => depth -= 1,
            (Some(open), _) if open == c => quote = None,
            _ => {}
        }
    }
    (line, depth)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
[package]
name = "tok-x" # a comment with version = "1"
version.workspace = true
edition.workspace = true
rust-version.workspace = true
license.workspace = true

[dependencies]
bytes.workspace = true
tokio = { workspace = true, optional = true, features = [
    "net", # version = "1"
    "rt",
] }

[dev-dependencies]
tok-x = { path = ".", features = ["testkit"] }

[lints]
workspace = true
"#;

    #[test]
    fn a_manifest_that_inherits_all_passes() {
        assert_eq!(check("tok-x", GOOD), [""; 0]);
    }

    #[test]
    fn what_is_not_inherited_is_named() {
        for key in ["version", "edition", "rust-version", "license"] {
            let line = format!("\n{key}.workspace = true");
            let errors = check("tok-x", &GOOD.replace(&line, &format!("\n{key} = \"1\"")));
            assert_eq!(errors.len(), 1, "{errors:?}");
            assert!(errors[0].contains(&format!("`{key}.workspace")), "{errors:?}");
        }
        let errors = check("tok-x", &GOOD.replace("[lints]\nworkspace = true", "[lints]"));
        assert!(errors.len() == 1 && errors[0].contains("[lints]"), "{errors:?}");
    }

    #[test]
    fn a_dependency_with_a_version_of_its_own_is_named_with_its_line() {
        let plant = |below: &str, line: &str| GOOD.replace(below, &format!("{below}\n{line}"));
        for (below, line) in [
            ("[dependencies]", "planted = \"1\""),
            ("[dependencies]", "planted = { version = \"1\", features = [\"x\"] }"),
            ("[dependencies]", "planted = { path = \"../planted\" }"),
            ("[dependencies]", "planted.version = \"1\""),
            ("[dev-dependencies]", "planted = { path = \"../planted\", version = \"1\" }"),
            ("[dev-dependencies]", "[target.'cfg(unix)'.dependencies]\nplanted = \"1\""),
            ("[dev-dependencies]", "[build-dependencies]\nplanted = \"1\""),
            ("[dev-dependencies]", "[dependencies.planted]\nversion = \"1\""),
        ] {
            let manifest = plant(below, line);
            let errors = check("tok-x", &manifest);
            let number = manifest.lines().position(|l| Some(l) == line.lines().last()).unwrap() + 1;
            assert!(
                errors.iter().any(|error| error.contains(&format!("Cargo.toml:{number}:"))),
                "{line}: {errors:?}"
            );
        }
    }
}
