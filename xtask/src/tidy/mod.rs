//! `cargo xtask tidy`: the repository's own rules, each with a test that shows it catching a planted defect.

mod features;
mod invariants;
mod layers;
mod manifests;
mod mask;
mod sources;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::COMMANDS;
use crate::cmd::run_cargo;
use crate::matrix::ROWS;
use crate::mutants;
use crate::tidy::sources::Source;
use crate::workspace::Workspace;

/// Runs the command; the answer is whether no rule is broken.
pub(crate) fn run(workspace: &Workspace, args: &[String]) -> Result<bool> {
    if let Some(unknown) = args.first() {
        bail!("tidy takes no argument `{unknown}`");
    }
    let sources = load_sources(workspace)?;
    let mut errors = features::check(&workspace.packages, ROWS);
    errors.extend(layers::check_crates(&workspace.packages));
    errors.extend(check_trees(workspace)?);
    errors.extend(check_manifests(workspace)?);
    errors.extend(sources.iter().flat_map(sources::check));
    errors.extend(check_invariants(workspace));
    errors.extend(mutants::rotten(&workspace.root)?);

    for warning in sources.iter().filter_map(sources::warn_size) {
        println!("tidy: warning: {warning}");
    }
    for error in &errors {
        println!("tidy: error: {error}");
    }
    println!(
        "tidy: {} packages, {} source files, {} errors",
        workspace.packages.len(),
        sources.len(),
        errors.len()
    );
    Ok(errors.is_empty())
}

fn check_trees(workspace: &Workspace) -> Result<Vec<String>> {
    let mut errors = Vec::new();
    for rule in layers::TREE_RULES {
        let mut args = vec!["tree", "-e", "normal", "--prefix", "none", "-p", rule.package];
        args.push("--no-default-features");
        if !rule.features.is_empty() {
            args.extend(["--features", rule.features]);
        }
        let outcome = run_cargo(workspace, &format!("tree {}", rule.package), &args, &[])?;
        if outcome.success {
            errors.extend(layers::check_tree(rule, &outcome.output));
        } else {
            errors.push(format!("cargo {}: {}", args.join(" "), outcome.output.trim()));
        }
    }
    let (package, features) = (layers::SMOL_PACKAGE, layers::SMOL_FEATURES);
    let args = ["tree", "-e", "features,normal", "--prefix", "none", "--no-default-features"];
    let args = [&args[..], &["-p", package, "--features", features]].concat();
    let outcome = run_cargo(workspace, &format!("tree {package}"), &args, &[])?;
    if outcome.success {
        errors.extend(layers::check_tokio_features(&outcome.output));
    } else {
        errors.push(format!("cargo {}: {}", args.join(" "), outcome.output.trim()));
    }
    Ok(errors)
}

fn check_manifests(workspace: &Workspace) -> Result<Vec<String>> {
    let mut errors = Vec::new();
    for package in &workspace.packages {
        let manifest = read(&package.dir.join("Cargo.toml"))?;
        errors.extend(manifests::check(&package.name, &manifest));
        if package.published && !package.dir.join("README.md").is_file() {
            errors.push(format!("{} has no README.md", package.name));
        }
    }
    Ok(errors)
}

fn check_invariants(workspace: &Workspace) -> Vec<String> {
    let commands: Vec<&str> = COMMANDS.iter().map(|(name, _)| *name).collect();
    let find = |path: &str| fs::read_to_string(workspace.root.join(path)).ok();
    let check = |document| match find(document) {
        Some(text) => invariants::check(document, &text, &commands, find),
        None => vec![format!("there is no {document}")],
    };
    ["ARCHITECTURE.md", "docs/failures.md"].into_iter().flat_map(check).collect()
}

fn load_sources(workspace: &Workspace) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    for package in &workspace.packages {
        walk(&workspace.root, &package.dir, &mut sources)?;
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(sources)
}

fn walk(root: &Path, dir: &Path, sources: &mut Vec<Source>) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))? {
        let entry = entry.with_context(|| format!("cannot list {}", dir.display()))?;
        let path = entry.path();
        let file = entry.file_name();
        let hidden_or_built = file == "target" || file.to_string_lossy().starts_with('.');
        if path.is_dir() && !hidden_or_built {
            walk(root, &path, sources)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().replace('\\', "/");
            sources.push(Source::new(name, read(&path)?));
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}
