//! Bar charts as SVG, by hand: no program, font or script is needed to look at them.

use std::fmt::Write as _;

/// One server's figure.
#[derive(Debug)]
pub(super) struct Bar {
    pub(super) label: String,
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

const WIDTH: f64 = 720.0;
const LABELS: f64 = 210.0;
const VALUES: f64 = 70.0;
const ROW: f64 = 30.0;
const TOP: f64 = 40.0;

/// Horizontal bars of the medians, each with a line from the least to the most.
pub(super) fn bars(title: &str, bars: &[Bar]) -> String {
    let most = bars.iter().map(|bar| bar.max).fold(f64::MIN_POSITIVE, f64::max);
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
            x(bar.min),
            x(bar.max),
            x(bar.max) + 8.0,
            middle + 4.0,
            bar.median,
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
        let bar = |label: &str, value| Bar { label: label.to_owned(), median: value, min: value, max: value };
        let svg = bars("a < b", &[bar("one & two", 1.0), bar("gateway, x", 2.0)]);
        assert!(svg.contains("a &lt; b") && svg.contains("one &amp; two"), "{svg}");
        assert!(svg.contains("width=\"220.0\"") && svg.contains("width=\"440.0\""), "{svg}");
        assert!(!bars("empty", &[]).contains("NaN"));
    }
}
