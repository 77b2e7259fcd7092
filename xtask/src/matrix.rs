//! The one list of what is tested under which features. `cargo xtask tidy` fails when it and the manifests
//! disagree: each package needs a row without features, one for each of its features alone and one for all.

use crate::{brokers, browser};

/// One line of the matrix: a package and the features it is tested with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) package: &'static str,
    pub(crate) features: Features,
}

/// What is passed to cargo; default features are off unless said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Features {
    None,
    Only(&'static [&'static str]),
    All,
    /// What somebody gets who names the package and nothing else.
    Default,
}

/// Every row, in the order in which they run: what others stand on comes first.
pub(crate) const ROWS: &[Row] = &[
    none("xtask"),
    none("brokers"),
    none("tok-core"),
    only("tok-core", &["tokio"]),
    only("tok-core", &["smol"]),
    only("tok-core", &["testkit"]),
    only("tok-core", &["tracing"]),
    all("tok-core"),
    none("tok-queue"),
    only("tok-queue", &["redb"]),
    only("tok-queue", &["nats"]),
    only("tok-queue", &["redis"]),
    only("tok-queue", &["redis-tls"]),
    only("tok-queue", &["testkit"]),
    all("tok-queue"),
    none("tok-tcp"),
    only("tok-tcp", &["tokio"]),
    only("tok-tcp", &["smol"]),
    all("tok-tcp"),
    none("tok-tls"),
    none("tok-ws"),
    only("tok-ws", &["tokio"]),
    only("tok-ws", &["smol"]),
    only("tok-ws", &["tokio-tungstenite"]),
    only("tok-ws", &["async-tungstenite"]),
    only("tok-ws", &["tokio-websockets"]),
    only("tok-ws", &["http2"]),
    only("tok-ws", &["axum"]),
    only("tok-ws", &["testkit"]),
    only("tok-ws", &["tokio-tungstenite", "async-tungstenite"]),
    only("tok-ws", &["tokio-tungstenite", "tokio-websockets"]),
    only("tok-ws", &["async-tungstenite", "tokio-websockets"]),
    all("tok-ws"),
    default("tok-ws"),
    none("tok-cluster"),
    only("tok-cluster", &["testkit"]),
    only("tok-cluster", &["nats"]),
    only("tok-cluster", &["redis"]),
    only("tok-cluster", &["redis-tls"]),
    all("tok-cluster"),
    none("examples"),
    only("examples", &["async-tungstenite"]),
    only("examples", &["tokio-websockets"]),
    only("examples", &["redb"]),
    only("examples", &["nats"]),
    only("examples", &["redis"]),
    only("examples", &["smol"]),
    only("examples", &[browser::FEATURE]),
    all("examples"),
    none("fuzz"),
];

impl Row {
    /// `PACKAGE/FEATURES`, what `--only` is matched with.
    pub(crate) fn name(&self) -> String {
        let features = match self.features {
            Features::None => "none".to_owned(),
            Features::Only(names) => names.join("+"),
            Features::All => "all".to_owned(),
            Features::Default => "default".to_owned(),
        };
        format!("{}/{features}", self.package)
    }

    /// What the row's tests run the gateway with: the same checks on every engine and on both runtimes.
    pub(crate) fn envs(&self) -> &'static [(&'static str, &'static str)] {
        match (self.package, self.features) {
            ("examples", Features::Only(["async-tungstenite"])) => {
                &[("TOK_GATEWAY", "--engine async-tungstenite")]
            }
            ("examples", Features::Only(["tokio-websockets"])) => {
                &[("TOK_GATEWAY", "--engine tokio-websockets")]
            }
            ("examples", Features::Only(["smol"])) => {
                &[("TOK_GATEWAY", "--runtime smol --engine async-tungstenite")]
            }
            // They wait for leases and servers, and hardly for a processor.
            ("tok-cluster" | "tok-queue" | "examples", _) if self.needs_brokers() => {
                &[("RUST_TEST_THREADS", "6")]
            }
            _ => &[],
        }
    }

    /// The package's other row that runs the same integration tests and examples in documentation on the same code: this
    /// one runs the library's own tests and leaves those to it.
    pub(crate) fn same_tests_as(&self) -> Option<&'static str> {
        match (self.package, self.features) {
            // They turn it on in every row: these packages are dev-dependencies of themselves.
            ("tok-core" | "tok-cluster", Features::Only(["testkit"])) => Some("none"),
            // What is different with TLS is tested there, too.
            ("tok-cluster" | "tok-queue", Features::Only(["redis-tls"])) => Some("all"),
            _ => None,
        }
    }

    /// Whether it has tests that need a browser.
    pub(crate) fn needs_browser(&self) -> bool {
        match self.features {
            Features::All => self.package == "examples",
            Features::Only(names) => names.contains(&browser::FEATURE),
            Features::None | Features::Default => false,
        }
    }

    /// Whether it has tests that need a NATS or Redis server.
    pub(crate) fn needs_brokers(&self) -> bool {
        match self.features {
            Features::All => ["tok-queue", "tok-cluster", "examples"].contains(&self.package),
            Features::Only(names) => names.iter().any(|name| brokers::FEATURES.contains(name)),
            Features::None => self.package == "brokers",
            Features::Default => self.package == "examples",
        }
    }

    /// The arguments that select the package and its features. One package at a time: cargo unifies the features
    /// of all that it builds together, and what one package turned on would hide what another forgot.
    pub(crate) fn cargo_args(&self) -> Vec<String> {
        let mut args = vec!["--package".to_owned(), self.package.to_owned()];
        match self.features {
            Features::None => args.push("--no-default-features".to_owned()),
            Features::Only(names) => {
                args.push("--no-default-features".to_owned());
                args.push("--features".to_owned());
                args.push(names.join(","));
            }
            Features::All => args.push("--all-features".to_owned()),
            Features::Default => {}
        }
        args
    }
}

pub(crate) const fn none(package: &'static str) -> Row {
    Row { package, features: Features::None }
}

pub(crate) const fn only(package: &'static str, features: &'static [&'static str]) -> Row {
    Row { package, features: Features::Only(features) }
}

pub(crate) const fn all(package: &'static str) -> Row {
    Row { package, features: Features::All }
}

const fn default(package: &'static str) -> Row {
    Row { package, features: Features::Default }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_arguments_say_the_same() {
        let row = only("tok-ws", &["tokio-tungstenite", "tokio-websockets"]);
        assert_eq!(row.name(), "tok-ws/tokio-tungstenite+tokio-websockets");
        assert_eq!(
            row.cargo_args().join(" "),
            "--package tok-ws --no-default-features --features tokio-tungstenite,tokio-websockets"
        );
        assert_eq!(none("a").cargo_args().join(" "), "--package a --no-default-features");
        assert_eq!(all("a").cargo_args().join(" "), "--package a --all-features");
        assert_eq!(default("a").cargo_args().join(" "), "--package a");
    }

    #[test]
    fn tests_are_left_to_rows_that_run_them() {
        let mut left = ROWS.iter().filter_map(|row| Some((row.package, row.same_tests_as()?))).peekable();
        assert!(left.peek().is_some());
        for (package, other) in left {
            let name = format!("{package}/{other}");
            let row = ROWS.iter().find(|row| row.name() == name).unwrap();
            assert_eq!(row.same_tests_as(), None, "{name}");
        }
    }

    #[test]
    fn every_pair_of_engines_has_a_row() {
        let engines = ["tokio-tungstenite", "async-tungstenite", "tokio-websockets"];
        for (index, first) in engines.iter().enumerate() {
            for second in &engines[index + 1..] {
                let name = format!("tok-ws/{first}+{second}");
                assert!(ROWS.iter().any(|row| row.name() == name), "no row {name}");
            }
        }
    }
}
