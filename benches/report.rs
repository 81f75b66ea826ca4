//! What was measured, as a table: each figure beside its raw limit, with the ratio, the target and whether it holds.

use std::time::Duration;

use comfy_table::{Cell, CellAlignment, Color, Table, presets};

/// Median, and how far the middle nine tenths reach.
#[derive(Clone, Copy, Debug)]
pub struct Stat {
    /// The median.
    pub median: f64,
    /// How many were measured.
    pub n: usize,
    low: f64,
    high: f64,
}

impl Stat {
    /// Of at least one value.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        assert!(!values.is_empty(), "nothing was measured");
        values.sort_unstable_by(f64::total_cmp);
        let at = |percent: usize| values[(values.len() - 1) * percent / 100];
        Self { median: at(50), n: values.len(), low: at(5), high: at(95) }
    }

    /// Times, in milliseconds.
    pub fn millis<'a>(times: impl IntoIterator<Item = &'a Duration>) -> Self {
        Self::of(times.into_iter().map(|time| time.as_secs_f64() * 1e3))
    }
}

/// What a figure is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Less is better.
    Ms,
    /// Less is better.
    MiB,
    /// Less is better.
    KiB,
    /// Per second: more is better.
    PerSecond(&'static str),
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Self::Ms => "ms",
            Self::MiB => "MiB",
            Self::KiB => "KiB",
            Self::PerSecond(what) => what,
        }
    }
}

/// A line of the table.
pub struct Row {
    what: String,
    unit: Unit,
    wharf: Stat,
    raw: Option<(String, Stat)>,
    target: Option<(String, bool)>,
}

impl Row {
    /// A figure without a raw limit.
    pub fn new(what: impl Into<String>, unit: Unit, wharf: Stat) -> Self {
        Self { what: what.into(), unit, wharf, raw: None, target: None }
    }

    /// Beside a raw limit, measured in the same run.
    pub fn beside(mut self, what: impl Into<String>, raw: Stat) -> Self {
        self.raw = Some((what.into(), raw));
        self
    }

    /// Whether it keeps within `ratio` times the raw limit.
    pub fn at_most_times(self, ratio: f64) -> Self {
        let holds = self.ratio().is_some_and(|r| r <= ratio);
        self.target(format!("≤ {ratio}×"), holds)
    }

    /// Whether it takes at most `more` on top of the raw limit.
    pub fn at_most_more(self, more: f64) -> Self {
        let holds = self.raw.as_ref().is_some_and(|(_, raw)| self.wharf.median - raw.median <= more);
        let text = format!("≤ raw + {more} {}", self.unit.name());
        self.target(text, holds)
    }

    /// Whether it stays below `most`.
    pub fn below(self, most: f64) -> Self {
        let holds = self.wharf.median < most;
        let text = format!("< {most} {}", self.unit.name());
        self.target(text, holds)
    }

    fn target(mut self, text: String, holds: bool) -> Self {
        self.target = Some((text, holds));
        self
    }

    fn ratio(&self) -> Option<f64> {
        self.raw.as_ref().map(|(_, raw)| self.wharf.median / raw.median)
    }

    fn cells(&self) -> Vec<Cell> {
        let right = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
        let (raw, limit) = self.raw.as_ref().map_or_else(Default::default, |(what, raw)| (figure(*raw), what.clone()));
        let mark = match &self.target {
            Some((_, true)) => Cell::new("yes").fg(Color::Green),
            Some((_, false)) => Cell::new("NO").fg(Color::Red),
            None => Cell::new(""),
        };
        vec![
            Cell::new(&self.what),
            right(figure(self.wharf)),
            Cell::new(self.unit.name()),
            right(raw),
            Cell::new(limit),
            right(self.ratio().map(|ratio| format!("{ratio:.2}×")).unwrap_or_default()),
            right(self.wharf.n.to_string()),
            Cell::new(self.target.as_ref().map_or("", |(text, _)| text.as_str())),
            mark,
        ]
    }
}

/// A median with its spread.
fn figure(stat: Stat) -> String {
    if stat.n < 5 {
        return number(stat.median);
    }
    format!("{} ({}–{})", number(stat.median), number(stat.low), number(stat.high))
}

/// Three digits where there are as many, whole numbers beyond, in groups of three.
fn number(value: f64) -> String {
    match value.abs() {
        v if v >= 1000.0 => {
            let digits = format!("{value:.0}");
            let groups: Vec<&str> =
                digits.as_bytes().rchunks(3).rev().filter_map(|group| std::str::from_utf8(group).ok()).collect();
            groups.join(",")
        }
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// The lines so far; each is told as it comes.
#[derive(Default)]
pub struct Report {
    rows: Vec<Row>,
}

impl Report {
    /// Adds a line.
    pub fn add(&mut self, row: Row) {
        let ratio = row.ratio().map(|ratio| format!(", {ratio:.2}×")).unwrap_or_default();
        eprintln!("  {}: {} {}{ratio}", row.what, number(row.wharf.median), row.unit.name());
        self.rows.push(row);
    }

    /// The table.
    pub fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::UTF8_HORIZONTAL_ONLY);
        table.set_header(["", "wharf", "", "raw", "raw limit", "ratio", "n", "target", "holds"]);
        for row in &self.rows {
            table.add_row(row.cells());
        }
        table
    }

    /// How many targets there are, and how many of them hold.
    pub fn targets(&self) -> (usize, usize) {
        let all: Vec<bool> = self.rows.iter().filter_map(|row| row.target.as_ref()).map(|(_, holds)| *holds).collect();
        (all.len(), all.iter().filter(|holds| **holds).count())
    }
}
