//! `cargo xtask mutants`: bugs that are planted on purpose, one after the other, each of which a simulation must catch.
//!
//! A mutant is a patch in `xtask/mutants`. Lines in front of its diff say in which simulation it is caught:
//! `nodes: 3`. It is applied to a copy of the workspace and built there: the code under test has no switch for it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::sim::{SIMULATIONS, Seeds, Simulation, Violation};
use crate::workspace::Workspace;

/// How they are built: there are many, and each runs few seeds.
const PROFILE: &str = "dev";

/// Seeds within which each has to be caught.
const SEEDS: u64 = 200;

/// One planted bug.
#[derive(Debug)]
pub(crate) struct Mutant {
    pub(crate) name: String,
    patch: PathBuf,
    nodes: usize,
}

/// Runs the command; the answer is whether every mutant was caught.
pub(crate) fn run(workspace: &Workspace, args: &[String]) -> Result<bool> {
    let only = parse(args)?;
    let mutants = all(&workspace.root)?;
    let chosen: Vec<&Mutant> = mutants
        .iter()
        .filter(|mutant| only.is_empty() || only.iter().any(|part| mutant.name.contains(part)))
        .collect();
    ensure!(!chosen.is_empty(), "no mutant is called so; there are {}", names(&mutants));

    let dir = workspace.target.join("mutants");
    let copy = Workspace { root: dir.join("src"), target: dir.join("target"), packages: Vec::new() };
    refresh(&workspace.root, &copy.root)?;
    let used: BTreeSet<usize> = chosen.iter().map(|mutant| mutant.nodes).collect();
    for nodes in used {
        // What fails without a mutant catches nothing.
        let run = simulation(nodes)?.run(&copy, PROFILE, Seeds::Count(SEEDS))?;
        if let Some(Violation { seed, what }) = run.violation {
            bail!("the simulation of {nodes} node(s) fails without any mutant: seed {seed}: {what}");
        }
    }
    println!("{:<34} {:>5} {:>5}  caught by", "mutant", "nodes", "seed");
    let mut survived = 0;
    for mutant in &chosen {
        refresh(&workspace.root, &copy.root)?;
        if !applies(&copy.root, &mutant.patch, Apply::Now)? {
            println!("{:<34} {:>5} {:>5}  its patch does not apply any more", mutant.name, mutant.nodes, "-");
            survived += 1;
            continue;
        }
        let run = simulation(mutant.nodes)?
            .run(&copy, PROFILE, Seeds::Count(SEEDS))
            .with_context(|| format!("mutant {}", mutant.name))?;
        match run.violation {
            Some(Violation { seed, what }) => {
                let what: String = what.chars().take(100).collect();
                println!("{:<34} {:>5} {seed:>5}  {what}", mutant.name, mutant.nodes);
            }
            None => {
                println!("{:<34} {:>5} {:>5}  SURVIVED", mutant.name, mutant.nodes, "-");
                survived += 1;
            }
        }
    }
    println!("mutants: {} caught, {survived} not", chosen.len() - survived);
    Ok(survived == 0)
}

/// Every mutant, by name.
pub(crate) fn all(root: &Path) -> Result<Vec<Mutant>> {
    let dir = root.join("xtask").join("mutants");
    let mut mutants = Vec::new();
    for entry in fs::read_dir(&dir).with_context(|| format!("cannot list {}", dir.display()))? {
        let patch = entry.with_context(|| format!("cannot list {}", dir.display()))?.path();
        if patch.extension().is_some_and(|extension| extension == "patch") {
            let text =
                fs::read_to_string(&patch).with_context(|| format!("cannot read {}", patch.display()))?;
            let name = patch.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let nodes =
                nodes(&text).with_context(|| format!("{name} has no line `nodes: 1` or `nodes: 3`"))?;
            mutants.push(Mutant { name, patch, nodes });
        }
    }
    mutants.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(mutants)
}

/// What `tidy` says: patches that do not apply any more.
pub(crate) fn rotten(root: &Path) -> Result<Vec<String>> {
    let mut errors = Vec::new();
    for mutant in all(root)? {
        if !applies(root, &mutant.patch, Apply::Never)? {
            errors.push(format!("xtask/mutants/{}.patch does not apply any more: make it anew", mutant.name));
        }
    }
    Ok(errors)
}

fn nodes(patch: &str) -> Option<usize> {
    let head = patch.lines().take_while(|line| !line.starts_with("--- ") && !line.starts_with("diff "));
    let mut nodes = head.filter_map(|line| line.strip_prefix("nodes: ")?.trim().parse().ok());
    nodes.next().filter(|nodes| simulation(*nodes).is_ok())
}

fn simulation(nodes: usize) -> Result<Simulation> {
    let found = SIMULATIONS.into_iter().find(|simulation| simulation.nodes == nodes);
    found.with_context(|| format!("there is no simulation of {nodes} nodes"))
}

fn names(mutants: &[Mutant]) -> String {
    mutants.iter().map(|mutant| mutant.name.as_str()).collect::<Vec<_>>().join(", ")
}

fn parse(args: &[String]) -> Result<Vec<String>> {
    let mut only = Vec::new();
    let mut args = args.iter();
    while let Some(flag) = args.next() {
        match (flag.as_str(), args.next()) {
            ("--only", Some(part)) => only.push(part.clone()),
            ("--only", None) => bail!("--only needs a part of a name"),
            (unknown, _) => bail!("mutants takes no argument `{unknown}`"),
        }
    }
    Ok(only)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Apply {
    Now,
    /// Only look whether it would.
    Never,
}

fn applies(root: &Path, patch: &Path, apply: Apply) -> Result<bool> {
    let mut command = Command::new("git");
    command.arg("apply").current_dir(root).stdout(Stdio::null()).stderr(Stdio::null());
    // The copy lies within the repository and is none of its own: git must not look for one further up.
    if let Some(parent) = root.parent() {
        command.env("GIT_CEILING_DIRECTORIES", parent);
    }
    if apply == Apply::Never {
        command.arg("--check");
    }
    let status = command.arg(patch).status().context("cannot run git apply")?;
    Ok(status.success())
}

/// Makes `copy` hold what git tracks in `root`. Files that are right already are not touched, so that cargo builds only
/// what has changed.
fn refresh(root: &Path, copy: &Path) -> Result<()> {
    let output = Command::new("git").args(["ls-files", "-z"]).current_dir(root).output();
    let output = output.context("cannot run git ls-files")?;
    ensure!(output.status.success(), "git ls-files: {}", String::from_utf8_lossy(&output.stderr));
    let mut tracked = BTreeSet::new();
    for name in output.stdout.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let name = PathBuf::from(String::from_utf8_lossy(name).into_owned());
        // Deleted and not committed yet.
        let Ok(bytes) = fs::read(root.join(&name)) else { continue };
        let to = copy.join(&name);
        if fs::read(&to).ok().as_ref() != Some(&bytes) {
            if let Some(dir) = to.parent() {
                fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
            }
            fs::write(&to, &bytes).with_context(|| format!("cannot write {}", to.display()))?;
        }
        tracked.insert(name);
    }
    remove_others(copy, copy, &tracked)
}

/// Removes files that are not tracked any more: cargo finds tests by their names.
fn remove_others(copy: &Path, dir: &Path, tracked: &BTreeSet<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))? {
        let path = entry.with_context(|| format!("cannot list {}", dir.display()))?.path();
        if path.is_dir() {
            remove_others(copy, &path, tracked)?;
        } else if path.strip_prefix(copy).is_ok_and(|name| !tracked.contains(name)) {
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mutant_says_where_it_is_caught() {
        assert_eq!(nodes("What it does.\nnodes: 3\n\n--- a/x\n+++ b/x\n"), Some(3));
        assert_eq!(nodes("nodes: 2\n--- a/x\n"), None);
        assert_eq!(nodes("What it does.\n--- a/x\nnodes: 1\n"), None);
    }

    #[test]
    fn a_patch_that_does_not_apply_is_found() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let mutants = all(root).unwrap();
        assert!(mutants.len() >= 12, "{}", names(&mutants));
        assert_eq!(rotten(root).unwrap(), [""; 0]);
        let folder = std::env::temp_dir().join(format!("tok-rotten-{}", std::process::id()));
        fs::create_dir_all(folder.join("xtask/mutants")).unwrap();
        let patch = "nodes: 1\n--- a/gone.rs\n+++ b/gone.rs\n@@ -1 +1 @@\n-a\n+b\n";
        fs::write(folder.join("xtask/mutants/rotten.patch"), patch).unwrap();
        let found = rotten(&folder).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        assert!(found.len() == 1 && found[0].contains("rotten.patch"), "{found:?}");
    }
}
