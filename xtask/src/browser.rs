//! `cargo xtask browser`: the chat's page in Debian's Chromium, which is installed first where it is missing.

use std::env;
use std::ffi::OsStr;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::cmd::run_cargo;
use crate::workspace::Workspace;

/// The feature of `examples` that compiles the tests.
pub(crate) const FEATURE: &str = "browser-tests";

const PROGRAMS: [&str; 2] = ["chromium", "chromedriver"];
const PACKAGES: [&str; 2] = ["chromium", "chromium-driver"];

/// Runs the command; the answer is whether the tests passed.
pub(crate) fn run(workspace: &Workspace, args: &[String]) -> Result<bool> {
    if let Some(unknown) = args.first() {
        bail!("browser takes no argument `{unknown}`");
    }
    install()?;
    let args = ["test", "--package", "examples", "--features", FEATURE, "--test", "browser"];
    let outcome = run_cargo(workspace, "browser", &args, &[])?;
    println!("$ cargo {}\n{}", args.join(" "), outcome.output);
    Ok(outcome.success)
}

/// Makes sure that there is a browser; an error where there is none and none may be installed.
pub(crate) fn install() -> Result<()> {
    let path = env::var_os("PATH").unwrap_or_default();
    let missing = missing(&PROGRAMS, &path);
    if missing.is_empty() {
        return Ok(());
    }
    if let Some(obstacle) = obstacle(&missing, is_root(), &path) {
        bail!(obstacle);
    }
    println!("browser: installing {}, for want of {}", PACKAGES.join(" and "), missing.join(" and "));
    apt_get(&["update"])?;
    apt_get(&[&["install", "--yes", "--no-install-recommends"], &PACKAGES[..]].concat())?;
    match self::missing(&PROGRAMS, &path).as_slice() {
        [] => Ok(()),
        missing => bail!("{} is still missing", missing.join(" and ")),
    }
}

fn missing<'a>(programs: &[&'a str], path: &OsStr) -> Vec<&'a str> {
    let found = |program: &&str| env::split_paths(path).any(|folder| folder.join(program).is_file());
    programs.iter().copied().filter(|program| !found(program)).collect()
}

/// Why nothing can be installed here.
fn obstacle(missing: &[&str], is_root: bool, path: &OsStr) -> Option<String> {
    let why = if !self::missing(&["apt-get"], path).is_empty() {
        "there is no apt-get"
    } else if !is_root {
        "only root may install it"
    } else {
        return None;
    };
    let (missing, packages) = (missing.join(" and "), PACKAGES.join(" "));
    Some(format!(
        "the browser tests need {missing}, and {why}: install Debian's packages {packages}, or what your system has \
         in their place"
    ))
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output();
    output.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

fn apt_get(args: &[&str]) -> Result<()> {
    let output = Command::new("apt-get").env("DEBIAN_FRONTEND", "noninteractive").args(args).output();
    let output = output.context("cannot run apt-get")?;
    ensure!(
        output.status.success(),
        "apt-get {} failed\n{}{}",
        args.join(" "),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_missing_unless_a_folder_of_the_path_has_it() {
        let this = env::current_exe().unwrap();
        let name = this.file_name().unwrap().to_str().unwrap();
        let path = env::join_paths(["/nonexistent".as_ref(), this.parent().unwrap()]).unwrap();
        assert_eq!(missing(&[name, "no-such-program"], &path), ["no-such-program"]);
        assert_eq!(missing(&[name], "/nonexistent".as_ref()), [name]);
    }

    #[test]
    fn where_nothing_may_be_installed_it_says_what_to_install() {
        let text = obstacle(&["chromedriver"], true, "/nonexistent".as_ref()).unwrap();
        assert!(text.contains("no apt-get") && text.contains("chromium chromium-driver"), "{text}");
    }
}
