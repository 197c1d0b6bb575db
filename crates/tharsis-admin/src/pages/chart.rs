//! Figures over time: as a picture that is drawn here, in words, and as a table.

use std::{fmt::Write as _, time::Duration};

use tharsis::Timestamp;

use crate::text::{count, measured};

/// More points no line has.
pub(crate) const POINTS: usize = 180;

/// So many rows the table has at most.
pub(crate) const ROWS: usize = 12;

/// The size of the picture, in tenths of its unit.
const WIDTH: u64 = 6_000;
const HEIGHT: u64 = 1_600;

/// What is left above and below, so that lines are seen whole.
const MARGIN: u64 = 20;

/// What values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// So many.
    Number,
    /// Tenths, in a minute.
    PerMinute,
    /// Hundredths of a percent.
    Share,
    /// Milliseconds.
    Span,
}

impl Unit {
    /// For people.
    pub(crate) fn told(self, value: u64) -> String {
        match self {
            Self::Number => count(value),
            Self::PerMinute => match value % 10 {
                0 => format!("{} a minute", count(value / 10)),
                tenth => format!("{}.{tenth} a minute", count(value / 10)),
            },
            Self::Share => format!("{}.{:02} %", value / 100, value % 100),
            Self::Span => measured(Duration::from_millis(value)),
        }
    }

    /// What the top of the picture stands for, where this is the highest value.
    fn top(self, highest: u64) -> u64 {
        match self {
            Self::Share => 10_000,
            Self::Number | Self::PerMinute | Self::Span => highest,
        }
    }
}

/// What is shown of one thing. Where nothing is known there is `None`.
pub(crate) struct Line {
    pub(crate) name: &'static str,
    /// In the picture.
    pub(crate) points: Vec<Option<u64>>,
    /// In the table.
    pub(crate) rows: Vec<Option<u64>>,
}

/// When the table's rows begin, and when the last one ends.
pub(crate) struct Axis(Vec<Timestamp>);

impl Axis {
    pub(crate) fn new(begins: impl Iterator<Item = Timestamp>) -> Self {
        Self(begins.collect())
    }
}

/// A chart, as `chart.html` shows it.
pub(crate) struct Chart {
    /// What its parts are known by on the page.
    pub(crate) id: &'static str,
    pub(crate) title: &'static str,
    /// Whether there is anything to draw.
    pub(crate) has_figures: bool,
    /// All that the picture says, in words.
    pub(crate) told: String,
    /// At the top, and where it begins and ends.
    pub(crate) top: String,
    pub(crate) from: String,
    pub(crate) until: String,
    pub(crate) lines: Vec<Drawn>,
    pub(crate) rows: Vec<Row>,
}

/// A line of the picture.
pub(crate) struct Drawn {
    pub(crate) name: &'static str,
    /// How it looks, and its key.
    pub(crate) class: &'static str,
    /// As SVG draws it.
    pub(crate) path: String,
}

/// A row of the table.
pub(crate) struct Row {
    pub(crate) from: String,
    pub(crate) cells: Vec<String>,
}

/// One line looks like none of the others, in colours or without.
const CLASSES: [&str; 2] = ["first", "second"];

impl Chart {
    /// Of two lines at most.
    pub(crate) fn new(
        id: &'static str,
        title: &'static str,
        unit: Unit,
        axis: &Axis,
        lines: &[Line],
    ) -> Self {
        let known = lines.iter().flat_map(|line| line.points.iter().flatten());
        let highest = known.copied().max();
        let top = unit.top(highest.unwrap_or_default());
        let clock = |at: Option<&Timestamp>| at.map_or_else(String::new, |at| clock(*at));
        let drawn = lines.iter().zip(CLASSES).map(|(line, class)| Drawn {
            name: line.name,
            class,
            path: path(&line.points, top),
        });
        Self {
            id,
            title,
            has_figures: highest.is_some(),
            told: told(title, unit, lines),
            top: unit.told(top),
            from: clock(axis.0.first()),
            until: clock(axis.0.last()),
            lines: drawn.collect(),
            rows: rows(unit, axis, lines),
        }
    }
}

/// The latest and the highest value of each line, in words.
fn told(title: &str, unit: Unit, lines: &[Line]) -> String {
    let line = |line: &Line| {
        let name = line.name;
        let known = || line.points.iter().flatten().copied();
        match (known().next_back(), known().max()) {
            (Some(latest), Some(highest)) => {
                let [latest, highest] = [latest, highest].map(|value| unit.told(value));
                format!("{name} {latest} at last, {highest} at most")
            }
            _ => format!("{name} not known"),
        }
    };
    let lines: Vec<_> = lines.iter().map(line).collect();
    format!("{title}: {}", lines.join("; "))
}

fn rows(unit: Unit, axis: &Axis, lines: &[Line]) -> Vec<Row> {
    let count = axis.0.len().saturating_sub(1);
    let begins = axis.0.iter().take(count).enumerate();
    let rows = begins.map(|(index, at)| Row {
        from: clock(*at),
        cells: (lines.iter())
            .map(|line| line.rows.get(index).copied().flatten())
            .map(|value| value.map_or_else(|| "–".to_owned(), |value| unit.told(value)))
            .collect(),
    });
    rows.collect()
}

/// Hours and minutes of an instant.
fn clock(at: Timestamp) -> String {
    let at = at.to_string();
    at.get(11..16).unwrap_or_default().to_owned()
}

/// A line from the left to the right. It is broken where nothing is known, and a point that is alone is a dot.
fn path(points: &[Option<u64>], top: u64) -> String {
    let gaps = u64::try_from(points.len().saturating_sub(1)).unwrap_or(u64::MAX);
    let mut path = String::new();
    let mut is_begun = false;
    for (index, point) in (0_u64..).zip(points) {
        let Some(value) = point else {
            is_begun = false;
            continue;
        };
        let x = part(index, gaps, WIDTH);
        let y = HEIGHT - MARGIN - part(*value, top, HEIGHT - 2 * MARGIN);
        let (step, dot) = match is_begun {
            true => ('L', ""),
            false => ('M', "h0"),
        };
        is_begun = true;
        // A string takes all that is written to it.
        let _ = write!(
            path,
            "{step}{}.{} {}.{}{dot}",
            x / 10,
            x % 10,
            y / 10,
            y % 10
        );
    }
    path
}

/// As much of a length as this is of all.
fn part(of: u64, all: u64, length: u64) -> u64 {
    let part = u128::from(of) * u128::from(length) / u128::from(all.max(1));
    u64::try_from(part).unwrap_or(length).min(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &'static str, points: &[Option<u64>]) -> Line {
        Line {
            name,
            points: points.to_vec(),
            rows: points.to_vec(),
        }
    }

    fn axis(minutes: i64) -> Axis {
        let begin = |minute: i64| Timestamp::from_millis(1_700_000_040_000 + minute * 60_000);
        Axis::new((0..=minutes).map(begin))
    }

    #[test]
    fn a_line_is_broken_where_nothing_is_known() {
        let points = [Some(0), Some(10), None, Some(5), None];
        assert_eq!(path(&points, 10), "M0.0 158.0h0L150.0 2.0M450.0 80.0h0");
        assert_eq!(path(&[], 10), "");
        assert_eq!(path(&[None; 3], 10), "");
        assert_eq!(path(&[Some(10)], 10), "M0.0 2.0h0");
    }

    #[test]
    fn nothing_at_all_and_very_much_stay_within_the_picture() {
        assert_eq!(path(&[Some(0), Some(0)], 0), "M0.0 158.0h0L600.0 158.0");
        let huge = [Some(u64::MAX), Some(u64::MAX / 2)];
        assert_eq!(path(&huge, u64::MAX), "M0.0 2.0h0L600.0 80.1");
        assert_eq!(path(&[Some(u64::MAX)], 1), "M0.0 2.0h0");
    }

    #[test]
    fn it_says_in_words_what_is_seen() {
        let lines = [
            line("p50", &[Some(5), Some(2_000), Some(10), None]),
            line("p99", &[None; 4]),
        ];
        let chart = Chart::new("latency", "Latency", Unit::Span, &axis(4), &lines);
        assert_eq!(
            chart.told,
            "Latency: p50 10.0 ms at last, 2.00 s at most; p99 not known"
        );
        assert_eq!(chart.top, "2.00 s");
        assert_eq!((&*chart.from, &*chart.until), ("22:14", "22:18"));
        let classes: Vec<_> = chart.lines.iter().map(|line| line.class).collect();
        assert_eq!(classes, ["first", "second"]);
        let rows: Vec<_> = (chart.rows.iter())
            .map(|row| (&*row.from, row.cells.join(" | ")))
            .collect();
        assert_eq!(
            rows,
            [
                ("22:14", "5.00 ms | –".to_owned()),
                ("22:15", "2.00 s | –".to_owned()),
                ("22:16", "10.0 ms | –".to_owned()),
                ("22:17", "– | –".to_owned()),
            ]
        );
    }

    #[test]
    fn a_share_is_of_all() {
        let lines = [line("delivered", &[Some(9_950)])];
        let chart = Chart::new("success", "Success", Unit::Share, &axis(1), &lines);
        assert_eq!(chart.top, "100.00 %");
        assert_eq!(
            chart.told,
            "Success: delivered 99.50 % at last, 99.50 % at most"
        );
    }

    #[test]
    fn values_are_told_with_their_unit() {
        assert_eq!(Unit::Number.told(12_345), "12,345");
        assert_eq!(Unit::PerMinute.told(120), "12 a minute");
        assert_eq!(Unit::PerMinute.told(5), "0.5 a minute");
        assert_eq!(Unit::Share.told(5), "0.05 %");
    }

    #[test]
    fn a_chart_of_nothing_is_one_all_the_same() {
        let nothing = Chart::new("backlog", "Backlog", Unit::Number, &axis(0), &[]);
        assert!(nothing.lines.is_empty() && nothing.rows.is_empty());
        assert_eq!(nothing.top, "0");
    }

    #[test]
    fn nought_is_a_figure_and_what_is_not_known_is_none() {
        let has_figures = |lines: &[Line]| {
            let chart = Chart::new("backlog", "Backlog", Unit::Number, &axis(2), lines);
            chart.has_figures
        };
        let unknown = line("waiting", &[None, None]);
        assert!(!has_figures(&[]));
        assert!(!has_figures(std::slice::from_ref(&unknown)));
        assert!(has_figures(&[unknown, line("held", &[None, Some(0)])]));
    }
}
