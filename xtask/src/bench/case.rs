//! What is measured: the scenarios, their figures, and what tok promises of each.

use serde_json::Value;

use super::server::Server;

/// One run of the load tool.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) name: &'static str,
    /// What the load tool is told besides where the server is.
    pub(super) args: &'static [&'static str],
    /// The same for `--quick`, instead.
    pub(super) quick: &'static [&'static str],
    /// How often every server has its turn; twice for `--quick`.
    rounds: usize,
    /// The curve that its first figure is a point of, and where.
    pub(super) point: Option<(&'static str, f64)>,
    /// It is measured for that point alone.
    pub(super) curve: bool,
    pub(super) figures: &'static [Figure],
}

/// One row of the table.
#[derive(Debug)]
pub(super) struct Figure {
    pub(super) label: &'static str,
    /// Its name in the load tool's report.
    pub(super) key: &'static str,
    pub(super) unit: &'static str,
    /// What tok wants of its default engine.
    pub(super) goal: &'static str,
    /// What the floor took where the goals were set.
    pub(super) floor: Option<f64>,
}

const CPU: &str = "cpu_us";

const fn figure(
    label: &'static str,
    key: &'static str,
    unit: &'static str,
    goal: &'static str,
    floor: Option<f64>,
) -> Figure {
    Figure { label, key, unit, goal, floor }
}

const fn curve(
    name: &'static str,
    point: (&'static str, f64),
    args: &'static [&'static str],
    figures: &'static [Figure],
) -> Case {
    Case { name, args, quick: args, rounds: 3, point: Some(point), curve: true, figures }
}

/// Rounds of traffic are short and many: what else the machine does changes from second to second, and a ratio is one of
/// two servers only if it hits both.
const TRAFFIC_ROUNDS: usize = 15;

/// The curves, by what their points are told apart by.
pub(super) const FAN_OUT: &str = "fan-out: CPU per delivery (µs) by receivers";
const ROOMS: &str = "rooms of ten: CPU per delivery (µs) by rooms";
const SIZES: &str = "echo: CPU per message (µs) by bytes";
const LOGINS: &str = "login storm: CPU per connect (µs) by connections";

/// All of them, in the order of the report.
pub(super) const CURVES: [&str; 4] = [FAN_OUT, ROOMS, SIZES, LOGINS];

/// Every scenario, in the order of the table.
pub(super) const CASES: &[Case] = &[
    Case {
        name: "fan-out",
        args: &["--scenario", "fan-out", "--warmup", "0.3", "--seconds", "1"],
        quick: &["--scenario", "fan-out", "--warmup", "0.3", "--seconds", "1"],
        rounds: TRAFFIC_ROUNDS,
        point: Some((FAN_OUT, 2000.0)),
        curve: false,
        figures: &[figure("fan-out to 2,000 (`B`), CPU per delivery", CPU, "µs", "≤ 1.2 × floor", Some(3.0))],
    },
    Case {
        name: "echo",
        args: &["--scenario", "echo", "--warmup", "0.3", "--seconds", "1"],
        quick: &["--scenario", "echo", "--warmup", "0.3", "--seconds", "1"],
        rounds: TRAFFIC_ROUNDS,
        point: Some((SIZES, 100.0)),
        curve: false,
        figures: &[
            figure("echo, 256 connections (`E`), CPU per message", CPU, "µs", "≤ 1.3 × floor", Some(3.6)),
            figure("echo, messages per second", "per_second", "/s", "", None),
            figure("echo, latency p50", "p50_ms", "ms", "", None),
            figure("echo, latency p99", "p99_ms", "ms", "≤ 3 × p50", None),
            figure("echo, latency max", "max_ms", "ms", "", None),
        ],
    },
    Case {
        name: "relay",
        args: &["--scenario", "relay", "--warmup", "0.3", "--seconds", "1"],
        quick: &["--scenario", "relay", "--warmup", "0.3", "--seconds", "1"],
        rounds: TRAFFIC_ROUNDS,
        point: None,
        curve: false,
        figures: &[figure(
            "relay in 128 pairs (`T`), CPU per message",
            CPU,
            "µs",
            "≤ 1.3 × floor",
            Some(4.0),
        )],
    },
    Case {
        name: "pipelined",
        args: &["--scenario", "pipelined", "--warmup", "0.3", "--seconds", "1"],
        quick: &["--scenario", "pipelined", "--warmup", "0.3", "--seconds", "1"],
        rounds: TRAFFIC_ROUNDS,
        point: None,
        curve: false,
        figures: &[
            figure("2,000 pipelined on 16 connections, CPU per message", CPU, "µs", "≤ 1.5 µs", None),
            figure("pipelined, out of order", "out_of_order", "messages", "0", None),
        ],
    },
    Case {
        name: "connect",
        args: &["--scenario", "connect"],
        quick: &["--scenario", "connect", "--connections", "1000"],
        rounds: TRAFFIC_ROUNDS,
        point: Some((LOGINS, 4000.0)),
        curve: false,
        figures: &[figure("CPU per connect", CPU, "µs", "≤ 40 µs", Some(10.0))],
    },
    Case {
        name: "idle",
        args: &["--scenario", "idle"],
        quick: &["--scenario", "idle", "--connections", "2000"],
        // Memory does not vary.
        rounds: 2,
        point: None,
        curve: false,
        figures: &[
            figure("memory per idle connection", "idle_kib", "KiB", "≤ 4 KiB, aim 2.5", Some(1.05)),
            figure("the same after 20 KiB echoed", "idle_after_kib", "KiB", "", None),
        ],
    },
    curve(
        "fan-out-100",
        (FAN_OUT, 100.0),
        &["--scenario", "fan-out", "--connections", "100", "--seconds", "1"],
        &[figure("fan-out to 100, CPU per delivery", CPU, "µs", "", None)],
    ),
    curve(
        "fan-out-1000",
        (FAN_OUT, 1000.0),
        &["--scenario", "fan-out", "--connections", "1000", "--seconds", "1"],
        &[figure("fan-out to 1,000, CPU per delivery", CPU, "µs", "", None)],
    ),
    curve(
        "fan-out-10000",
        (FAN_OUT, 10_000.0),
        &["--scenario", "fan-out", "--connections", "10000", "--seconds", "2"],
        &[figure("fan-out to 10,000, CPU per delivery", CPU, "µs", "", None)],
    ),
    curve(
        "echo-16B",
        (SIZES, 16.0),
        &["--scenario", "echo", "--size", "16", "--seconds", "1"],
        &[figure("echo of 16 B, CPU per message", CPU, "µs", "", None)],
    ),
    curve(
        "echo-1KiB",
        (SIZES, 1024.0),
        &["--scenario", "echo", "--size", "1024", "--seconds", "1"],
        &[figure("echo of 1 KiB, CPU per message", CPU, "µs", "", None)],
    ),
    curve(
        "echo-16KiB",
        (SIZES, 16_384.0),
        &["--scenario", "echo", "--size", "16384", "--seconds", "1"],
        &[figure("echo of 16 KiB, CPU per message", CPU, "µs", "", None)],
    ),
    curve(
        "rooms-20",
        (ROOMS, 20.0),
        &["--scenario", "rooms", "--connections", "200", "--seconds", "1"],
        &[figure("20 rooms of ten, CPU per delivery", CPU, "µs", "", None)],
    ),
    curve(
        "rooms-200",
        (ROOMS, 200.0),
        &["--scenario", "rooms", "--connections", "2000", "--seconds", "1"],
        &[figure("200 rooms of ten, CPU per delivery", CPU, "µs", "", None)],
    ),
    curve(
        "rooms-1000",
        (ROOMS, 1000.0),
        &["--scenario", "rooms", "--connections", "10000", "--seconds", "2"],
        &[figure("1,000 rooms of ten, CPU per delivery", CPU, "µs", "", None)],
    ),
    curve(
        "connect-1000",
        (LOGINS, 1000.0),
        &["--scenario", "connect", "--connections", "1000"],
        &[figure("login storm of 1,000, CPU per connect", CPU, "µs", "", None)],
    ),
    curve(
        "connect-10000",
        (LOGINS, 10_000.0),
        &["--scenario", "connect", "--connections", "10000"],
        &[figure("login storm of 10,000, CPU per connect", CPU, "µs", "", None)],
    ),
];

impl Figure {
    /// A value with its unit.
    pub(super) fn value(&self, value: f64) -> String {
        format!("{} {}", digits(value), self.unit)
    }
}

/// A value with as many digits as it is worth.
pub(super) fn digits(value: f64) -> String {
    let digits = if value < 1000.0 { 2 } else { 0 };
    format!("{value:.digits$}")
}

impl Case {
    pub(super) fn rounds(&self, quick: bool) -> usize {
        if quick { 2 } else { self.rounds }
    }

    /// A line that says how it went, and whether it was the tool that could do no more.
    pub(super) fn progress(&self, round: usize, server: &Server, report: &Value) -> String {
        let figures: Vec<String> = self
            .figures
            .iter()
            .filter_map(|figure| Some(figure.value(report[figure.key].as_f64()?)))
            .collect();
        let limited = match report["tool_load"].as_f64() {
            Some(load) if load > 0.97 => "  (the load tool was at its limit)",
            _ => "",
        };
        format!(
            "round {} {:<12} {:<28} {}{limited}",
            round + 1,
            self.name,
            server.to_string(),
            figures.join(", ")
        )
    }
}
