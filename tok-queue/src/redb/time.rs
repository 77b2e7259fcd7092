//! What time it is in the file.
//!
//! Deadlines in the file are milliseconds of a time that began as the wall clock's when the file was made. While the file
//! is open it passes as the queue's monotonic clock does. When it is opened again, as much has passed as the clock says
//! that also runs while the machine sleeps, or if the machine has booted since, the wall clock; never less than nothing.
//! For that the file keeps its time, and what both clocks showed then, with each commit.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use redb::{ReadableTable, Table};
use tok_core::rt::Clock;

use super::error::Failure;
use crate::{clock::QueueClock, record::millis_up};

/// What the clocks of the machine show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Moment {
    /// The wall clock: milliseconds since the Unix epoch.
    pub(super) wall: u64,
    pub(super) boot: Option<Boot>,
}

/// The time since the machine booted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Boot {
    /// Which boot it was.
    pub(super) id: u128,
    /// Milliseconds since then, also those that the machine slept.
    pub(super) millis: u64,
}

/// Reads the clocks of the machine.
pub(super) type Clocks = Arc<dyn Fn() -> Moment + Send + Sync>;

/// The time in an open file.
pub(super) struct FileTime {
    clock: QueueClock,
    /// When the file was opened.
    opened: Duration,
    clocks: Clocks,
}

/// The time in the file, and what the clocks of the machine showed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    millis: u64,
    moment: Moment,
}

impl FileTime {
    /// Goes on from what the file has. In a file without a mark, which is new or was written by an older program,
    /// deadlines are of the wall clock.
    pub(super) fn after(mark: Option<Mark>, clocks: Clocks) -> Self {
        let now = clocks();
        let opened = match mark {
            None => now.wall,
            Some(Mark { millis, moment }) => millis.saturating_add(now.since(moment)),
        };
        Self { clock: QueueClock::new(), opened: Duration::from_millis(opened), clocks }
    }

    pub(super) fn provide(&self, clock: &Clock) {
        self.clock.provide(clock);
    }

    pub(super) fn now(&self) -> Duration {
        self.opened.saturating_add(self.clock.now())
    }

    /// When an entry with this TTL expires, in milliseconds, rounded up.
    pub(super) fn deadline(&self, ttl: Duration) -> u64 {
        let now = self.now();
        if ttl.is_zero() { millis(now) } else { millis_up(now.saturating_add(ttl)) }
    }

    pub(super) fn mark(&self) -> Mark {
        Mark { millis: millis(self.now()), moment: (self.clocks)() }
    }
}

/// The whole milliseconds of a time, which are the deadlines that are over.
pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// What is left until a deadline.
pub(super) fn left(deadline: u64, now: Duration) -> Duration {
    Duration::from_millis(deadline).saturating_sub(now)
}

impl Moment {
    /// Milliseconds since an earlier moment.
    fn since(self, earlier: Self) -> u64 {
        match (self.boot, earlier.boot) {
            (Some(now), Some(then)) if now.id == then.id => now.millis.saturating_sub(then.millis),
            _ => self.wall.saturating_sub(earlier.wall),
        }
    }
}

impl Mark {
    const TIME: &'static str = "time";
    const WALL: &'static str = "wall";
    const BOOT_TIME: &'static str = "boot_time";
    /// The number of the boot, in halves; 0 where that is unknown.
    const BOOT_ID: [&'static str; 2] = ["boot_id_high", "boot_id_low"];

    pub(super) fn read(meta: &impl ReadableTable<&'static str, u64>) -> Result<Option<Self>, Failure> {
        let number = |name| Ok::<_, Failure>(meta.get(name)?.map(|number| number.value()));
        let (Some(millis), Some(wall)) = (number(Self::TIME)?, number(Self::WALL)?) else { return Ok(None) };
        let [high, low] = Self::BOOT_ID;
        let id = u128::from(number(high)?.unwrap_or(0)) << 64 | u128::from(number(low)?.unwrap_or(0));
        let boot = match number(Self::BOOT_TIME)? {
            Some(millis) if id != 0 => Some(Boot { id, millis }),
            _ => None,
        };
        Ok(Some(Self { millis, moment: Moment { wall, boot } }))
    }

    pub(super) fn write(self, meta: &mut Table<'_, &'static str, u64>) -> Result<(), Failure> {
        let Self { millis, moment: Moment { wall, boot } } = self;
        let Boot { id, millis: boot_time } = boot.unwrap_or(Boot { id: 0, millis: 0 });
        let [high, low] = Self::BOOT_ID;
        for (name, number) in [
            (Self::TIME, millis),
            (Self::WALL, wall),
            (Self::BOOT_TIME, boot_time),
            (high, (id >> 64) as u64),
            // The lower half.
            (low, id as u64),
        ] {
            meta.insert(name, number)?;
        }
        Ok(())
    }
}

/// The clocks of this machine.
pub(super) fn clocks() -> Clocks {
    let boot = boot_id();
    Arc::new(move || {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let boot = boot.and_then(|id| Some(Boot { id, millis: millis(since_boot()?) }));
        Moment { wall: millis(wall), boot }
    })
}

/// A number that each boot has for itself, where the system says it.
fn boot_id() -> Option<u128> {
    if !cfg!(target_os = "linux") {
        return None;
    }
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let digits: String = text.trim().split('-').collect();
    u128::from_str_radix(&digits, 16).ok().filter(|id| *id != 0)
}

#[cfg(target_os = "linux")]
fn since_boot() -> Option<Duration> {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::try_from(time).ok()
}

#[cfg(not(target_os = "linux"))]
fn since_boot() -> Option<Duration> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(wall: u64, id: u128, millis: u64) -> Moment {
        Moment { wall, boot: (id != 0).then_some(Boot { id, millis }) }
    }

    #[test]
    fn time_passes_by_the_boot_clock_or_the_wall_clock_and_never_back() {
        let then = moment(1_000_000, 7, 5_000);
        for (now, passed) in [
            // The same boot: whatever the wall clock shows.
            (moment(1_000_000, 7, 6_500), 1_500),
            (moment(9_000_000, 7, 6_500), 1_500),
            (moment(0, 7, 6_500), 1_500),
            (moment(9_000_000, 7, 4_000), 0),
            // Another boot, or an unknown one.
            (moment(1_002_000, 8, 1_000), 2_000),
            (moment(1_002_000, 0, 0), 2_000),
            (moment(999_000, 8, 9_000), 0),
            (moment(u64::MAX, 8, 0), u64::MAX - 1_000_000),
        ] {
            assert_eq!(now.since(then), passed, "{now:?}");
        }
        assert_eq!(moment(1_002_000, 7, 9_000).since(moment(1_000_000, 0, 0)), 2_000);
    }

    #[test]
    fn deadlines_are_rounded_up_and_never_overflow() {
        let time = FileTime::after(None, Arc::new(|| moment(1_000, 0, 0)));
        time.provide(&Clock::new(|| tok_core::rt::Instant::from_nanos(3)));
        // The clock of the machine had passed before by less than a millisecond or by more.
        let now = time.now();
        assert_eq!(time.deadline(Duration::ZERO), millis(now));
        let deadline = time.deadline(Duration::from_nanos(1));
        assert!(Duration::from_millis(deadline) > now && left(deadline, now) <= Duration::from_millis(1));
        assert_eq!(time.deadline(Duration::MAX), u64::MAX);
        assert!(left(u64::MAX, now) > Duration::from_secs(1 << 40));
        assert_eq!(left(0, now), Duration::ZERO);
        assert_eq!(left(0, Duration::MAX), Duration::ZERO);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn linux_says_which_boot_it_is_and_since_when() {
        let clocks = clocks();
        let (first, second) = (clocks(), clocks());
        let (Some(first), Some(second)) = (first.boot, second.boot) else { panic!("{first:?}") };
        assert_eq!(first.id, second.id);
        assert!(first.id != 0 && first.millis <= second.millis);
    }
}
