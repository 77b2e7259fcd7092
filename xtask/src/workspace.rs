//! What `cargo metadata` knows about the workspace.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// The members of the workspace and where it lies.
#[derive(Debug)]
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    pub(crate) target: PathBuf,
    pub(crate) packages: Vec<Package>,
}

/// One member.
#[derive(Debug, Default)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) dir: PathBuf,
    /// Without cargo's own `default`.
    pub(crate) features: Vec<String>,
    pub(crate) published: bool,
    /// What users of the package build: normal and build dependencies, no dev-dependencies.
    pub(crate) dependencies: Vec<String>,
}

impl Workspace {
    /// Asks cargo about the workspace around the current folder.
    pub(crate) fn load() -> Result<Self> {
        let output = Command::new(cargo())
            .args(["metadata", "--no-deps", "--format-version", "1"])
            .output()
            .context("cannot run cargo metadata")?;
        ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
        Self::parse(&output.stdout)
    }

    fn parse(json: &[u8]) -> Result<Self> {
        let value: Value = serde_json::from_slice(json).context("cargo metadata is not JSON")?;
        let packages: Result<Vec<Package>> = array(&value, "packages")?.iter().map(Package::parse).collect();
        Ok(Self {
            root: text(&value, "workspace_root")?.into(),
            target: text(&value, "target_directory")?.into(),
            packages: packages?,
        })
    }
}

impl Package {
    fn parse(value: &Value) -> Result<Self> {
        let manifest = PathBuf::from(text(value, "manifest_path")?);
        let features = value["features"].as_object().context("a package without a features table")?;
        let dependencies: Result<Vec<String>> = array(value, "dependencies")?
            .iter()
            .filter(|dependency| dependency["kind"] != "dev")
            .map(|dependency| text(dependency, "name").map(str::to_owned))
            .collect();
        Ok(Self {
            name: text(value, "name")?.to_owned(),
            dir: manifest.parent().context("a manifest without a folder")?.to_owned(),
            features: features.keys().filter(|name| *name != "default").cloned().collect(),
            // `null` is cargo's way to say "anywhere", an empty list says `publish = false`.
            published: value["publish"].as_array().is_none_or(|registries| !registries.is_empty()),
            dependencies: dependencies?,
        })
    }
}

/// The cargo that runs this program, so that `cargo +1.89 xtask` uses one toolchain throughout.
pub(crate) fn cargo() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}

fn text<'a>(value: &'a Value, key: &str) -> Result<&'a str> {
    value[key].as_str().with_context(|| format!("cargo metadata has no text `{key}`"))
}

fn array<'a>(value: &'a Value, key: &str) -> Result<&'a Vec<Value>> {
    value[key].as_array().with_context(|| format!("cargo metadata has no list `{key}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_features_kinds_and_publish() {
        let json = r#"{"workspace_root": "/w", "target_directory": "/w/target", "packages": [
            {"name": "a", "manifest_path": "/w/a/Cargo.toml", "publish": null,
             "features": {"default": [], "tokio": []},
             "dependencies": [{"name": "n", "kind": null}, {"name": "b", "kind": "build"}, {"name": "d", "kind": "dev"}]},
            {"name": "x", "manifest_path": "/w/x/Cargo.toml", "publish": [], "features": {}, "dependencies": []}]}"#;
        let workspace = Workspace::parse(json.as_bytes()).unwrap();
        let [a, x] = workspace.packages.as_slice() else { panic!("two packages expected") };
        assert_eq!((a.features.as_slice(), a.published), (["tokio".to_owned()].as_slice(), true));
        assert_eq!(a.dependencies, ["n", "b"]);
        assert_eq!((x.published, x.dir.to_str()), (false, Some("/w/x")));
    }

    #[test]
    fn metadata_without_a_field_is_an_error_that_names_it() {
        let error = Workspace::parse(b"{\"packages\": []}").unwrap_err();
        assert!(error.to_string().contains("workspace_root"), "{error}");
    }
}
