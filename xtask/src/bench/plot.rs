//! The picture: for each variant, what it leaves of the throughput and what it makes of the latency, with spread.

use svg::{
    Document, Node,
    node::element::{Line, Rectangle, Text},
};

use super::{
    figures::Spread,
    summary::{Row, Summary},
};

/// Pixels.
const ROW: f64 = 24.0;
const TOP: f64 = 70.0;
const NAMES: f64 = 130.0;
const PANEL: f64 = 330.0;
const GAP: f64 = 40.0;
const BOTTOM: f64 = 30.0;

/// One figure of all variants, side by side.
struct Panel {
    title: &'static str,
    figure: fn(&Summary) -> Spread,
    colour: &'static str,
    /// The least that the scale must reach to.
    reach: f64,
}

const PANELS: [Panel; 3] = [
    Panel {
        title: "throughput, of untraced",
        figure: |summary| summary.throughput_kept,
        colour: "#2b6cb0",
        reach: 1.1,
    },
    Panel {
        title: "p50, of untraced",
        figure: |summary| summary.p50_ratio,
        colour: "#2f855a",
        reach: 1.1,
    },
    Panel {
        title: "p99, of untraced",
        figure: |summary| summary.p99_ratio,
        colour: "#b7791f",
        reach: 1.1,
    },
];

/// The picture as SVG. Bars are medians; the lines on them reach over the middle half of the rounds.
pub fn svg(rows: &[Row], caption: &str) -> String {
    let width = NAMES + PANELS.len() as f64 * (PANEL + GAP);
    let height = TOP + rows.len() as f64 * ROW + BOTTOM;
    let mut picture = Document::new()
        .set("viewBox", (0.0, 0.0, width, height))
        .set("font-family", "sans-serif")
        .set("font-size", 12);
    picture.append(rectangle(0.0, 0.0, width, height, "white"));
    picture.append(label(caption, 10.0, 20.0));
    for (number, row) in rows.iter().enumerate() {
        picture.append(label(row.variant.name, 10.0, middle(number) + 4.0));
    }
    for (number, panel) in PANELS.iter().enumerate() {
        draw(
            &mut picture,
            panel,
            NAMES + number as f64 * (PANEL + GAP),
            rows,
        );
    }
    picture.to_string()
}

fn middle(row: usize) -> f64 {
    TOP + (row as f64 + 0.5) * ROW
}

fn draw(picture: &mut Document, panel: &Panel, left: f64, rows: &[Row]) {
    let ran = rows.iter().filter_map(|row| row.summary());
    let longest = ran.map(|summary| (panel.figure)(summary).upper_quartile);
    let reach = longest.fold(panel.reach, f64::max);
    let x = |value: f64| left + PANEL * value / reach;
    picture.append(label(panel.title, left, TOP - 26.0));
    for (number, row) in rows.iter().enumerate() {
        let y = middle(number);
        let Some(summary) = row.summary() else {
            picture.append(label("not run", left, y + 4.0).set("fill", "#c53030"));
            continue;
        };
        let spread = (panel.figure)(summary);
        let bar = rectangle(left, y - 7.0, x(spread.median) - left, 14.0, panel.colour);
        picture.append(bar.set("fill-opacity", 0.55));
        let (from, to) = (x(spread.lower_quartile), x(spread.upper_quartile));
        picture.append(line((from, y), (to, y)).set("stroke-width", 2));
        let text = label(&format!("{:.2}", spread.median), left + 4.0, y + 4.0);
        picture.append(text);
    }
    // Where the untraced server stands.
    let bottom = TOP + rows.len() as f64 * ROW;
    let untraced = line((x(1.0), TOP - 6.0), (x(1.0), bottom));
    picture.append(untraced.set("stroke-dasharray", "4 3"));
    picture.append(label("1", x(1.0) - 3.0, TOP - 10.0));
}

fn rectangle(x: f64, y: f64, width: f64, height: f64, fill: &str) -> Rectangle {
    Rectangle::new()
        .set("x", x)
        .set("y", y)
        .set("width", width)
        .set("height", height)
        .set("fill", fill)
}

fn line(from: (f64, f64), to: (f64, f64)) -> Line {
    Line::new()
        .set("x1", from.0)
        .set("y1", from.1)
        .set("x2", to.0)
        .set("y2", to.1)
        .set("stroke", "#1a202c")
}

fn label(text: &str, x: f64, y: f64) -> Text {
    Text::new(text).set("x", x).set("y", y)
}

#[cfg(test)]
mod tests {
    use super::{
        super::{figures::samples::measurement, rounds::Results, summary::rows, variants},
        *,
    };

    #[test]
    fn each_variant_is_in_the_picture() {
        let variants = variants::all();
        let results = Results {
            measurements: vec![measurement("socket", 0, 990)],
            ..Results::default()
        };
        let rows = rows(&variants, &results);
        let picture = svg(&rows, "2 cores & more");
        for variant in &variants {
            assert!(picture.contains(variant.name));
        }
        assert!(picture.contains("0.99") && picture.contains("not run"));
        assert!(picture.contains("2 cores &amp; more"), "{picture}");
    }
}
