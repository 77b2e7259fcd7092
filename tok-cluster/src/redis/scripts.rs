//! The registry's operations as scripts: the server runs each as one step.

use redis::Script;

#[derive(Debug)]
pub(super) struct Scripts {
    pub(super) claim: Script,
    pub(super) restore: Script,
    pub(super) release: Script,
    pub(super) lookup: Script,
    pub(super) page: Script,
    pub(super) beat: Script,
    pub(super) leave: Script,
    pub(super) nodes: Script,
    pub(super) reap: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        // New rows need memory. All else runs also where none is left. None is declared to write nothing: a replica, whose
        // answer can be out of date, refuses what may write, and so never gives one.
        let [rows, rest] = ["", "flags=allow-oom"];
        Self {
            claim: script(rows, include_str!("claim.lua")),
            restore: script(rows, include_str!("restore.lua")),
            release: script(rest, include_str!("release.lua")),
            lookup: script(rest, include_str!("lookup.lua")),
            page: script(rest, include_str!("page.lua")),
            beat: script(rest, include_str!("beat.lua")),
            leave: script(rest, include_str!("leave.lua")),
            nodes: script(rest, include_str!("nodes.lua")),
            reap: script(rest, include_str!("reap.lua")),
        }
    }
}

fn script(flags: &str, body: &str) -> Script {
    Script::new(&format!("#!lua {flags}\n{}{body}", include_str!("common.lua")))
}
