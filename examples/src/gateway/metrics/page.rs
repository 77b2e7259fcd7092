//! Prometheus' text format (version 0.0.4).

use std::fmt::{Display, Write};

/// A page of metrics. Values of one name stand together, below what explains them.
#[derive(Debug, Default)]
pub(super) struct Page(String);

impl Page {
    /// A value that goes up and down.
    pub(super) fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "gauge", help);
        self.line(format_args!("{name} {value}"));
    }

    /// A value that only grows. By convention its name ends in `_total`.
    pub(super) fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, "counter", help);
        self.line(format_args!("{name} {value}"));
    }

    /// As [`counter`](Self::counter), with a value for each of a label's.
    pub(super) fn counters<'a>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (&'a str, u64)>,
    ) {
        self.family(name, "counter", help);
        for (of, value) in values {
            self.line(format_args!("{name}{{{label}=\"{of}\"}} {value}"));
        }
    }

    pub(super) fn into_text(self) -> String {
        self.0
    }

    fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
    }

    fn line(&mut self, line: impl Display) {
        // Writing to a string does not fail.
        let _ = writeln!(self.0, "{line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_what_prometheus_reads() {
        let mut page = Page::default();
        page.gauge("tok_sessions", "Sessions.", 3);
        page.counters("tok_closed_total", "Closed.", "reason", [("sso", 1), ("idle", 0)]);
        assert_eq!(
            page.into_text(),
            "# HELP tok_sessions Sessions.\n# TYPE tok_sessions gauge\ntok_sessions 3\n\
             # HELP tok_closed_total Closed.\n# TYPE tok_closed_total counter\n\
             tok_closed_total{reason=\"sso\"} 1\ntok_closed_total{reason=\"idle\"} 0\n"
        );
    }
}
