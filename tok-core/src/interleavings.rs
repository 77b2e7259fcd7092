//! What threads can do to each other: the shipped hub on shuttle's scheduler, which decides at every lock and atomic who
//! goes on. A wake-up that is lost ends as a deadlock, which shuttle reports with its schedule.
//!
//! `cargo xtask interleavings` runs these; `TOK_SCHEDULES=N` runs so many for each test, from another seed each time.
//!
//! Time stands still: no test waits for it, and whoever would is reported as stuck.

mod ends;
mod logins;
mod rooms;
mod support;
mod writing;
