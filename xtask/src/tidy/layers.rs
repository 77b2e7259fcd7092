//! Which way crates may depend, and what must not be below them.

use crate::workspace::Package;

const CORE: &str = "tok-core";

/// What no build of `package` with these features (and no default ones) may contain.
#[derive(Debug)]
pub(super) struct TreeRule {
    pub(super) package: &'static str,
    pub(super) features: &'static str,
    /// A crate is meant by its name, and with it all that begin with the name and a dash.
    banned: &'static [&'static str],
}

/// The rules that `cargo tree` answers: tests alone prove nothing, their dev-dependencies bring a runtime.
pub(super) const TREE_RULES: &[TreeRule] = &[
    TreeRule {
        package: CORE,
        features: "",
        banned: &[
            "tokio",
            "smol",
            "hyper",
            "async-io",
            "async-std",
            "async-executor",
            "async-global-executor",
            "mio",
            "polling",
            "socket2",
            "futures-io",
        ],
    },
    TreeRule { package: "tok-tcp", features: "smol", banned: &["tokio"] },
    TreeRule { package: "tok-tls", features: "", banned: &["tokio", "smol", "aws-lc"] },
];

/// WebSocket on smol: hyper needs tokio's channels, and nothing else of tokio may come with them.
pub(super) const SMOL_PACKAGE: &str = "tok-ws";
pub(super) const SMOL_FEATURES: &str = "async-tungstenite,smol";

/// Reads what `cargo tree -e features --prefix none` printed: no feature of tokio but `sync` is on.
pub(super) fn check_tokio_features(tree: &str) -> Vec<String> {
    if !tree.contains(SMOL_PACKAGE) {
        return vec![format!("cargo tree of {SMOL_PACKAGE} does not name it:\n{tree}")];
    }
    let mut found: Vec<&str> = tree
        .lines()
        .filter_map(|line| line.strip_prefix("tokio feature \"")?.split('"').next())
        .filter(|feature| !["default", "sync"].contains(feature))
        .collect();
    found.sort_unstable();
    found.dedup();
    found
        .iter()
        .map(|feature| format!("{SMOL_PACKAGE} with {SMOL_FEATURES} turns on tokio's {feature}"))
        .collect()
}

/// The published crates stand on tok-core and not on each other; tok-core stands on none of them. Applications
/// (unpublished) may use all.
pub(super) fn check_crates(packages: &[Package]) -> Vec<String> {
    let mut errors = Vec::new();
    for package in packages.iter().filter(|package| package.published) {
        for dependency in &package.dependencies {
            let member = packages.iter().any(|other| other.name == *dependency);
            if member && (dependency != CORE || package.name == CORE) {
                errors.push(format!("{} depends on {dependency}; {CORE} alone is allowed", package.name));
            }
        }
        if package.name != CORE && !package.dependencies.iter().any(|name| name == CORE) {
            errors.push(format!("{} does not depend on {CORE}", package.name));
        }
    }
    errors
}

/// Reads what `cargo tree --prefix none` printed: a crate a line, the name first.
pub(super) fn check_tree(rule: &TreeRule, tree: &str) -> Vec<String> {
    let names: Vec<&str> = tree.lines().filter_map(|line| line.split_whitespace().next()).collect();
    if !names.contains(&rule.package) {
        return vec![format!("cargo tree of {} does not name it:\n{tree}", rule.package)];
    }
    let is = |name: &str, banned: &str| {
        name.strip_prefix(banned).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    let mut found: Vec<&str> =
        names.into_iter().filter(|name| rule.banned.iter().any(|banned| is(name, banned))).collect();
    found.sort_unstable();
    found.dedup();
    let features = if rule.features.is_empty() { "no features" } else { rule.features };
    found.iter().map(|name| format!("{} with {features} pulls in {name}", rule.package)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, published: bool, dependencies: &[&str]) -> Package {
        Package {
            name: name.to_owned(),
            published,
            dependencies: dependencies.iter().map(|name| (*name).to_owned()).collect(),
            ..Package::default()
        }
    }

    #[test]
    fn adapters_on_the_core_pass_and_applications_may_use_all() {
        let packages = [
            package(CORE, true, &["bytes"]),
            package("tok-ws", true, &[CORE, "hyper"]),
            package("examples", false, &["tok-ws", CORE]),
        ];
        assert_eq!(check_crates(&packages), [""; 0]);
    }

    #[test]
    fn an_adapter_on_an_adapter_a_core_on_one_and_one_without_the_core_are_named() {
        let packages = [
            package(CORE, true, &["tok-queue"]),
            package("tok-queue", true, &["bytes"]),
            package("tok-ws", true, &[CORE, "tok-queue"]),
        ];
        let errors = check_crates(&packages).join("\n");
        for wrong in [
            "tok-core depends on tok-queue",
            "tok-ws depends on tok-queue",
            "tok-queue does not depend on tok-core",
        ] {
            assert!(errors.contains(wrong), "{errors}");
        }
    }

    #[test]
    fn a_runtime_below_the_core_is_named_once() {
        let clean = "tok-core v0.1.0 (tok-core)\nbytes v1.12.2\nfutures-core v0.3.34\nmiow v1.0.0\n";
        assert_eq!(check_tree(&TREE_RULES[0], clean), [""; 0]);
        let tree = format!("{clean}tokio v1.47.0\nhyper-util v0.1.17\ntokio v1.47.0 (*)\n");
        let errors = check_tree(&TREE_RULES[0], &tree);
        assert_eq!(
            errors,
            ["tok-core with no features pulls in hyper-util", "tok-core with no features pulls in tokio"]
        );
    }

    #[test]
    fn more_of_tokio_than_its_channels_is_named() {
        let clean = "tok-ws v0.1.0\ntokio feature \"default\"\ntokio feature \"sync\"\ntokio v1.54.1\n";
        assert_eq!(check_tokio_features(clean), [""; 0]);
        let errors = check_tokio_features(&format!("{clean}tokio feature \"rt\" (*)\n"));
        assert_eq!(errors, ["tok-ws with async-tungstenite,smol turns on tokio's rt"]);
        assert_eq!(check_tokio_features("").len(), 1);
    }

    #[test]
    fn an_empty_tree_is_no_proof() {
        assert_eq!(check_tree(&TREE_RULES[1], "").len(), 1);
    }
}
