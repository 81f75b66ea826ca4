//! Output: results to stdout, everything else to stderr, colours only on a terminal, and nothing that an agent says can
//! steer the terminal.

use std::borrow::Cow;
use std::io::{self, IsTerminal as _, Write as _};

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use super::failure::Failure;
use crate::domain::Timestamp;

/// How to print.
#[derive(Clone, Debug)]
pub(super) struct Ui {
    /// JSON instead of text.
    pub(super) json: bool,
    /// Whether stdout is a terminal.
    pub(super) out_terminal: bool,
    color: bool,
}

impl Ui {
    /// As the terminal and `NO_COLOR` say.
    pub(super) fn new(json: bool) -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
        Self { json, out_terminal: io::stdout().is_terminal(), color: io::stderr().is_terminal() && !plain }
    }

    /// Writes to stdout as it is, at once.
    pub(super) fn write(&self, text: &str) -> Result<(), Failure> {
        let text = if self.out_terminal { self.clean(text) } else { Cow::Borrowed(text) };
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        Ok(out.flush()?)
    }

    /// A line to stdout.
    pub(super) fn line(&self, text: &str) -> Result<(), Failure> {
        self.write(&format!("{text}\n"))
    }

    /// A result as a JSON document.
    pub(super) fn document<T: Serialize>(&self, value: &T) -> Result<(), Failure> {
        let text = if self.out_terminal { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
        self.line(&text.map_err(|e| Failure::other(e.to_string()))?)
    }

    /// A line to stderr; that nobody reads it is no failure.
    pub(super) fn warn(&self, text: &str) {
        let _ = writeln!(io::stderr().lock(), "{text}");
    }

    /// To stderr without a line's end.
    pub(super) fn warn_part(&self, text: &str) {
        let mut err = io::stderr().lock();
        let _ = err.write_all(text.as_bytes());
        let _ = err.flush();
    }

    /// A note for people: not where JSON was asked for.
    pub(super) fn note(&self, text: &str) {
        if !self.json {
            self.warn(&self.dim(text));
        }
    }

    /// A table to stdout.
    pub(super) fn table(&self, header: &[&str], rows: Vec<Vec<String>>) -> Result<(), Failure> {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header(header.iter().copied());
        // A pipe has no width: there a row is a line.
        let arrangement = if self.out_terminal { ContentArrangement::Dynamic } else { ContentArrangement::Disabled };
        table.set_content_arrangement(arrangement);
        for row in rows {
            table.add_row(row.iter().map(|cell| one_line(&self.clean(cell))));
        }
        table.column_iter_mut().for_each(|column| {
            column.set_padding((0, 2));
        });
        self.line(&table.to_string().lines().map(str::trim_end).collect::<Vec<_>>().join("\n"))
    }

    /// Text without control characters, but for line feed and tab: an agent's words are not commands to a terminal.
    pub(super) fn clean<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let harmless = |c: char| !c.is_control() || c == '\n' || c == '\t';
        if text.chars().all(harmless) { Cow::Borrowed(text) } else { text.chars().filter(|c| harmless(*c)).collect() }
    }

    fn paint(&self, sgr: &str, text: &str) -> String {
        if self.color { format!("\x1b[{sgr}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Less important, on stderr.
    pub(super) fn dim(&self, text: &str) -> String {
        self.paint("2", text)
    }

    /// Wrong, on stderr.
    pub(super) fn red(&self, text: &str) -> String {
        self.paint("31", text)
    }

    /// New, on stderr.
    pub(super) fn green(&self, text: &str) -> String {
        self.paint("32", text)
    }

    /// To be noticed, on stderr.
    pub(super) fn bold(&self, text: &str) -> String {
        self.paint("1", text)
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// At most `width` characters, cut with an ellipsis.
pub(super) fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// A size in the largest unit that leaves a number: `512 B`, `1.5 MiB`.
pub(super) fn bytes(count: u64) -> String {
    let mut unit = (1_u64, "B");
    for larger in [(1 << 10, "KiB"), (1 << 20, "MiB"), (1 << 30, "GiB"), (1 << 40, "TiB")] {
        if count >= larger.0 {
            unit = larger;
        }
    }
    let tenths = u128::from(count) * 10 / u128::from(unit.0);
    if unit.0 == 1 { format!("{count} B") } else { format!("{}.{} {}", tenths / 10, tenths % 10, unit.1) }
}

/// How long ago: `3s`, `5m`, `2h`, `4d`.
pub(super) fn age(then: Timestamp, now: Timestamp) -> String {
    let seconds = now.as_millis().saturating_sub(then.as_millis()).max(0) / 1000;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// A value's name as JSON has it: `allow_once`.
pub(super) fn name<T: Serialize>(value: &T) -> String {
    serde_json::to_value(value).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_cannot_steer_the_terminal() {
        let ui = Ui::new(false);
        assert_eq!(ui.clean("a\x1b]0;title\x07b\r\u{9b}31mc\n\td"), "a]0;titleb31mc\n\td");
        assert!(matches!(ui.clean("plain ü\n"), Cow::Borrowed(_)));
    }

    #[test]
    fn times_and_texts_are_short() {
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1000);
        for (seconds, text) in [(0, "0s"), (59, "59s"), (60, "1m"), (7200, "2h"), (200_000, "2d")] {
            assert_eq!(age(at(0), at(seconds)), text);
        }
        assert_eq!(age(at(5), at(0)), "0s");
        assert_eq!(cut("grüße", 5), "grüße");
        assert_eq!(cut("grüßend", 5), "grüß…");
        for (count, text) in [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (7 << 30, "7.0 GiB")] {
            assert_eq!(bytes(count), text);
        }
        assert_eq!(name(&crate::domain::PermissionOptionKind::AllowOnce), "allow_once");
    }
}
