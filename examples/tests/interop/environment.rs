//! Installs the clients' libraries, pinned, under `target/`. Whatever is missing for that is a failure that says so.

use std::{
    ffi::OsStr,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

const WEBSOCKETS: &str = "15.0.1";
const WS: &str = "8.18.3";

/// A Python that has `websockets`.
pub(crate) fn python() -> PathBuf {
    let (dir, _lock) = locked("python");
    let python = dir.join("venv/bin/python");
    let print = "from importlib.metadata import version; print(version('websockets'))";
    // Asked every time: what is there may be half made, or another version.
    let is_installed =
        || run(&python, [OsStr::new("-c"), print.as_ref()]).is_ok_and(|said| said.trim() == WEBSOCKETS);
    if !is_installed() {
        let venv = dir.join("venv");
        let made = run("python3", [OsStr::new("-m"), "venv".as_ref(), "--clear".as_ref(), venv.as_ref()]);
        made.unwrap_or_else(|error| {
            panic!("this test needs python3 with its venv module (Debian: apt install python3-venv): {error}")
        });
        let package = format!("websockets=={WEBSOCKETS}");
        run(&python, ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", &package])
            .unwrap_or_else(|error| panic!("pip cannot install {package}, which this test needs: {error}"));
        assert!(is_installed(), "pip installed {package}, and it is not there");
    }
    python
}

/// The `NODE_PATH` under which Node finds `ws`.
pub(crate) fn node_path() -> PathBuf {
    let (dir, _lock) = locked("node");
    let modules = dir.join("node_modules");
    let ws = modules.join("ws");
    let print = "require(process.argv[1] + '/package.json').version";
    let is_installed =
        || run("node", [OsStr::new("-p"), print.as_ref(), ws.as_ref()]).is_ok_and(|said| said.trim() == WS);
    if !is_installed() {
        run("node", ["--version"])
            .unwrap_or_else(|error| panic!("this test needs Node (Debian: apt install nodejs npm): {error}"));
        let package = format!("ws@{WS}");
        let args =
            ["install", "--no-save", "--no-audit", "--no-fund", "--ignore-scripts", &package, "--prefix"];
        run("npm", args.iter().map(OsStr::new).chain([dir.as_ref()]))
            .unwrap_or_else(|error| panic!("npm cannot install {package}, which this test needs: {error}"));
        assert!(is_installed(), "npm installed {package}, and it is not there");
    }
    modules
}

/// A folder that lasts between runs, and the lock on it: test processes may run side by side.
fn locked(name: &str) -> (PathBuf, File) {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("interop").join(name);
    fs::create_dir_all(&dir).unwrap();
    let lock = File::create(dir.join("lock")).unwrap();
    lock.lock().unwrap();
    (dir, lock)
}

/// Runs a command to its end: what it wrote to stdout, or why it failed.
fn run(
    program: impl AsRef<OsStr>,
    args: impl IntoIterator<Item = impl AsRef<OsStr>>,
) -> Result<String, String> {
    let program = program.as_ref();
    let output = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("cannot run {}: {error}", program.display()))?;
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match output.status.success() {
        true => Ok(said(&output.stdout)),
        false => Err(said(&[output.stdout, output.stderr].concat())),
    }
}
