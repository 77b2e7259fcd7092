//! What the operating system says about a process: CPU time and resident memory.

use std::{fs, io, time::Duration};

/// A process of this machine, by its id.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Process(pub(crate) u32);

impl Process {
    /// This process.
    pub(super) fn this() -> Self {
        Self(std::process::id())
    }

    /// CPU time of all threads that live, from `/proc/PID/task/TID/schedstat`: in nanoseconds, where
    /// `/proc/PID/stat` counts ticks of 10 ms.
    pub(super) fn cpu(self) -> io::Result<Duration> {
        let mut total = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.0))? {
            // A thread may end between the listing and the reading.
            let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
            total += text.split(' ').next().and_then(|nanos| nanos.parse::<u64>().ok()).unwrap_or(0);
        }
        Ok(Duration::from_nanos(total))
    }

    /// Resident bytes. `smaps_rollup` walks the page tables; the counters in `status` lag behind by some pages a
    /// thread.
    pub(crate) fn resident(self) -> io::Result<u64> {
        let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.0))?;
        text.lines()
            .find_map(|line| line.strip_prefix("Rss:")?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok())
            .map(|kib| kib * 1024)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "smaps_rollup without Rss"))
    }
}
