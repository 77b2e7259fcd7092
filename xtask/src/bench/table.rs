//! The figures of all rounds, and the report that they make.

use std::fmt::Write as _;

use serde_json::Value;

use super::case::{CURVES, Case, Figure, digits};
use super::plot::{self, Bar, Line, bars};
use super::server::Server;

/// The floor is further off than noise explains when it takes this much more than where the goals were set.
const FLOOR_TOLERANCE: f64 = 1.15;

/// What the load tool reported, round by round.
#[derive(Debug, Default)]
pub(super) struct Samples(Vec<Sample>);

#[derive(Debug)]
struct Sample {
    case: &'static str,
    server: String,
    round: usize,
    report: Value,
}

/// The middle of some values, and between which the middle half of them lies.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Spread {
    median: f64,
    low: f64,
    high: f64,
    max: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let max = *values.last()?;
        let at = |quarters: usize| {
            let place = (values.len() - 1) as f64 * quarters as f64 / 4.0;
            let (below, above) = (values[place.floor() as usize], values[place.ceil() as usize]);
            below + (above - below) * place.fract()
        };
        Some(Self { median: at(2), low: at(1), high: at(3), max })
    }
}

impl Samples {
    pub(super) fn add(&mut self, case: &Case, server: &Server, round: usize, report: Value) {
        self.0.push(Sample { case: case.name, server: server.to_string(), round, report });
    }

    fn value(&self, case: &Case, figure: &Figure, server: &Server, round: usize) -> Option<f64> {
        let server = server.to_string();
        let matches =
            |sample: &&Sample| sample.case == case.name && sample.server == server && sample.round == round;
        self.0.iter().find(matches)?.report[figure.key].as_f64()
    }

    fn rounds(&self) -> usize {
        self.0.iter().map(|sample| sample.round + 1).max().unwrap_or(0)
    }

    fn values(&self, case: &Case, figure: &Figure, server: &Server) -> Option<Spread> {
        Spread::of((0..self.rounds()).filter_map(|round| self.value(case, figure, server, round)).collect())
    }

    /// Ratios to the floor of the same round.
    fn ratios(&self, case: &Case, figure: &Figure, server: &Server) -> Option<Spread> {
        let ratio = |round| {
            let floor = self.value(case, figure, &Server::Floor, round).filter(|floor| *floor > 0.0)?;
            Some(self.value(case, figure, server, round)? / floor)
        };
        Spread::of((0..self.rounds()).filter_map(ratio).collect())
    }

    /// Markdown: the table, and what there is to say about it.
    pub(super) fn report(
        &self,
        cases: &[&'static Case],
        servers: &[Server],
        how: &str,
        failures: &[String],
    ) -> String {
        let mut out = String::from("# Benchmark\n\n");
        let _ = writeln!(
            out,
            "{how}. Medians of up to {} rounds (and between which half of them are); ×: the ratio to the floor of the \
             same round.\n",
            self.rounds()
        );
        let heads: Vec<String> = servers.iter().map(ToString::to_string).collect();
        let _ = writeln!(out, "| | {} | goal |", heads.join(" | "));
        let _ = writeln!(out, "|---|{}---|", "---|".repeat(servers.len()));
        for (case, figure) in rows(cases) {
            let cells: Vec<String> = servers.iter().map(|server| self.cell(case, figure, server)).collect();
            let _ = writeln!(out, "| {} | {} | {} |", figure.label, cells.join(" | "), figure.goal);
        }
        let notes = self.notes(cases, failures);
        if !notes.is_empty() {
            let _ = writeln!(out, "\n{}", notes.join("\n"));
        }
        out
    }

    fn cell(&self, case: &Case, figure: &Figure, server: &Server) -> String {
        let Some(Spread { median, low, high, max }) = self.values(case, figure, server) else {
            return "–".to_owned();
        };
        if figure.key == "out_of_order" {
            // One wrong round must not vanish in a median.
            return format!("{max}");
        }
        let value = figure.value(median);
        if *server == Server::Floor {
            return format!("{value} ({}–{})", digits(low), digits(high));
        }
        match self.ratios(case, figure, server) {
            Some(Spread { median, low, high, .. }) => {
                format!("{value}, **×{median:.2}** ({low:.2}–{high:.2})")
            }
            None => format!("{value} ({}–{})", digits(low), digits(high)),
        }
    }

    fn notes(&self, cases: &[&'static Case], failures: &[String]) -> Vec<String> {
        let mut notes = Vec::new();
        for (case, figure) in rows(cases) {
            let floor = self.values(case, figure, &Server::Floor).map(|floor| floor.median);
            if let (Some(here), Some(there)) = (floor, figure.floor)
                && here > there * FLOOR_TOLERANCE
            {
                notes.push(format!(
                    "- The floor is {:.0} % above the {there} {} where the goals were set ({}): this machine is slower \
                     or was not at rest, so that only ratios can be compared.",
                    (here / there - 1.0) * 100.0,
                    figure.unit,
                    figure.label
                ));
            }
        }
        let limited = self.0.iter().filter(|sample| sample.report["tool_load"].as_f64() > Some(0.97)).count();
        if limited > 0 {
            notes.push(format!(
                "- The load tool used its whole core in {limited} of {} runs: the server could have done more there; \
                 its CPU time per message counts all the same.",
                self.0.len()
            ));
        }
        notes.extend(failures.iter().map(|failure| format!("- FAILED: {failure}")));
        notes
    }

    /// One plot for each row, with its file name.
    pub(super) fn plots(&self, cases: &[&'static Case], servers: &[Server]) -> Vec<(String, String)> {
        let plot = |case: &Case, figure: &Figure| {
            let bar = |server: &Server| {
                let Spread { median, low, high, .. } = self.values(case, figure, server)?;
                Some(Bar { label: server.to_string(), median, low, high })
            };
            let measured: Vec<Bar> = servers.iter().filter_map(bar).collect();
            let name = format!("{}-{}.svg", case.name, figure.key.replace('_', "-"));
            (name, bars(&format!("{} ({})", figure.label.replace('`', ""), figure.unit), &measured))
        };
        // A point of a curve has no plot of its own.
        let rows = rows(cases).filter(|(case, figure)| !case.curve && figure.key != "out_of_order");
        let curves = CURVES.iter().filter_map(|curve| self.curve(curve, cases, servers));
        rows.map(|(case, figure)| plot(case, figure)).chain(curves).collect()
    }

    /// The plot of a curve of which two points at least were measured.
    fn curve(&self, curve: &str, cases: &[&'static Case], servers: &[Server]) -> Option<(String, String)> {
        let mut points: Vec<(f64, &Case)> = cases
            .iter()
            .filter_map(|case| case.point.filter(|(of, _)| *of == curve).map(|(_, x)| (x, *case)))
            .collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        let line = |server: &Server| {
            let at = |(x, case): &(f64, &Case)| {
                Some((*x, self.values(case, case.figures.first()?, server)?.median))
            };
            Line { label: server.to_string(), points: points.iter().filter_map(at).collect() }
        };
        let lines: Vec<Line> = servers.iter().map(line).filter(|line| line.points.len() > 1).collect();
        let name = curve.split(':').next().unwrap_or(curve).replace(' ', "-");
        (!lines.is_empty()).then(|| (format!("curve-{name}.svg"), plot::lines(curve, &lines)))
    }
}

fn rows(cases: &[&'static Case]) -> impl Iterator<Item = (&'static Case, &'static Figure)> {
    cases.iter().flat_map(|case| case.figures.iter().map(move |figure| (*case, figure)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::case::CASES;
    use super::*;

    fn echo() -> &'static Case {
        CASES.iter().find(|case| case.name == "echo").unwrap()
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        let gateway = Server::Gateway("tokio-tungstenite");
        let mut samples = Samples::default();
        for (round, (floor, ours)) in [(2.0, 3.0), (4.0, 6.0), (3.0, 6.0)].into_iter().enumerate() {
            samples.add(echo(), &Server::Floor, round, json!({"cpu_us": floor}));
            samples.add(echo(), &gateway, round, json!({"cpu_us": ours}));
        }
        let ratios = samples.ratios(echo(), &echo().figures[0], &gateway).unwrap();
        assert_eq!(ratios, Spread { median: 1.5, low: 1.5, high: 1.75, max: 2.0 });
        let report = samples.report(&[echo()], &[Server::Floor, gateway], "here", &[]);
        assert!(report.contains("6.00 µs, **×1.50** (1.50–1.75)"), "{report}");
        // Latencies were not reported.
        assert!(report.contains("| – | – |"), "{report}");
    }

    #[test]
    fn a_floor_that_is_too_high_a_tool_at_its_limit_and_a_failure_are_said() {
        let mut samples = Samples::default();
        samples.add(echo(), &Server::Floor, 0, json!({"cpu_us": 3.6 * 1.14, "tool_load": 0.5}));
        assert!(samples.notes(&[echo()], &[]).is_empty());
        samples.add(echo(), &Server::Floor, 1, json!({"cpu_us": 3.6 * 1.30, "tool_load": 0.99}));
        let notes = samples.notes(&[echo()], &["it broke".to_owned()]).join("\n");
        assert!(notes.contains("22 % above the 3.6 µs"), "{notes}");
        assert!(notes.contains("1 of 2 runs") && notes.contains("FAILED: it broke"), "{notes}");
    }
}
