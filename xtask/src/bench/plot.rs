//! Charts as SVG, by hand: no program, font or script is needed to look at them.

use std::fmt::Write as _;

/// One server's figure.
#[derive(Debug)]
pub(super) struct Bar {
    pub(super) label: String,
    pub(super) median: f64,
    pub(super) low: f64,
    pub(super) high: f64,
}

const WIDTH: f64 = 720.0;
const LABELS: f64 = 210.0;
const VALUES: f64 = 70.0;
const ROW: f64 = 30.0;
const TOP: f64 = 40.0;

/// Horizontal bars of the medians, each with a line between which half of the rounds are.
pub(super) fn bars(title: &str, bars: &[Bar]) -> String {
    let most = bars.iter().map(|bar| bar.high).fold(f64::MIN_POSITIVE, f64::max);
    let x = |value: f64| LABELS + value / most * (WIDTH - LABELS - VALUES);
    let height = TOP + ROW * bars.len() as f64 + 10.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"10\" y=\"24\" font-size=\"15\" font-weight=\"bold\">{}</text>\n",
        escape(title)
    );
    for (row, bar) in bars.iter().enumerate() {
        let top = TOP + ROW * row as f64;
        let middle = top + ROW / 2.0;
        let fill = if bar.label.starts_with("gateway") { "#2b6cb0" } else { "#a0aec0" };
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>\n\
             <rect x=\"{LABELS}\" y=\"{}\" width=\"{:.1}\" height=\"{}\" fill=\"{fill}\"/>\n\
             <path d=\"M{:.1} {middle}H{:.1}\" stroke=\"#1a202c\" stroke-width=\"2\"/>\n\
             <text x=\"{:.1}\" y=\"{}\">{:.2}</text>",
            LABELS - 8.0,
            middle + 4.0,
            escape(&bar.label),
            top + 5.0,
            x(bar.median) - LABELS,
            ROW - 10.0,
            x(bar.low),
            x(bar.high),
            x(bar.high) + 8.0,
            middle + 4.0,
            bar.median,
        );
    }
    svg.push_str("</svg>\n");
    svg
}

/// One server's curve.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) label: String,
    /// By rising x, which is more than 0.
    pub(super) points: Vec<(f64, f64)>,
}

const COLORS: [&str; 6] = ["#a0aec0", "#718096", "#2b6cb0", "#2f855a", "#b7791f", "#9b2c2c"];
const CHART: f64 = 260.0;

/// Curves over a logarithmic axis, the values' own axis from 0.
pub(super) fn lines(title: &str, lines: &[Line]) -> String {
    let points = || lines.iter().flat_map(|line| line.points.iter());
    let most = points().map(|point| point.1).fold(f64::MIN_POSITIVE, f64::max);
    let first = points().map(|point| point.0).fold(f64::INFINITY, f64::min).ln();
    let last = points().map(|point| point.0).fold(f64::MIN_POSITIVE, f64::max).ln();
    let (left, right, bottom) = (60.0, WIDTH - LABELS, TOP + CHART);
    let x = |value: f64| left + (value.ln() - first) / (last - first).max(f64::MIN_POSITIVE) * (right - left);
    let y = |value: f64| bottom - value / most * CHART;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"10\" y=\"24\" font-size=\"15\" font-weight=\"bold\">{}</text>\n\
         <path d=\"M{left} {TOP}V{bottom}H{right}\" stroke=\"#1a202c\" fill=\"none\"/>\n",
        bottom + 30.0,
        escape(title)
    );
    for share in [0.0, 0.5, 1.0] {
        let value = most * share;
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{value:.1}</text>",
            left - 6.0,
            y(value) + 4.0
        );
    }
    let mut ticks: Vec<f64> = points().map(|point| point.0).collect();
    ticks.sort_by(f64::total_cmp);
    ticks.dedup();
    for tick in ticks {
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{tick}</text>",
            x(tick),
            bottom + 18.0
        );
    }
    for (index, line) in lines.iter().enumerate() {
        let color = COLORS[index % COLORS.len()];
        let path: Vec<String> =
            line.points.iter().map(|point| format!("{:.1},{:.1}", x(point.0), y(point.1))).collect();
        let row = TOP + 20.0 * (index as f64 + 1.0);
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" stroke=\"{color}\" stroke-width=\"2\" fill=\"none\"/>\n\
             <text x=\"{}\" y=\"{row}\" fill=\"{color}\">{}</text>",
            path.join(" "),
            right + 10.0,
            escape(&line.label)
        );
    }
    svg.push_str("</svg>\n");
    svg
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_bar_fills_the_width_and_text_is_escaped() {
        let bar =
            |label: &str, value| Bar { label: label.to_owned(), median: value, low: value, high: value };
        let svg = bars("a < b", &[bar("one & two", 1.0), bar("gateway, x", 2.0)]);
        assert!(svg.contains("a &lt; b") && svg.contains("one &amp; two"), "{svg}");
        assert!(svg.contains("width=\"220.0\"") && svg.contains("width=\"440.0\""), "{svg}");
        assert!(!bars("empty", &[]).contains("NaN"));
    }

    #[test]
    fn a_curve_goes_from_corner_to_corner() {
        let line = Line { label: "one".to_owned(), points: vec![(10.0, 1.0), (100.0, 2.0), (1000.0, 4.0)] };
        let svg = lines("by size", &[line]);
        assert!(svg.contains("points=\"60.0,235.0 285.0,170.0 510.0,40.0\""), "{svg}");
        assert!(!lines("empty", &[]).contains("points"));
    }
}
