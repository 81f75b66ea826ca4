//! A change of a file in a few lines: what went, what came, and a line around it.

use similar::{ChangeTag, TextDiff};

/// What begins each line of a change that is shown.
const MARGIN: &str = "  │ ";
/// Lines of a change that are shown.
const MOST: usize = 40;
const WIDTH: usize = 160;
/// Texts beyond this are not compared.
const LARGE: usize = 512 * 1024;

/// What kind a shown line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Removed,
    Added,
    Other,
}

/// The change, a line each.
pub(super) fn lines(old: &str, new: &str) -> Vec<String> {
    if old.len() + new.len() > LARGE {
        return vec![format!("{MARGIN}{} bytes become {}", old.len(), new.len())];
    }
    let diff = TextDiff::from_lines(old, new);
    let mut shown = Vec::new();
    for (n, group) in diff.grouped_ops(1).iter().enumerate() {
        if n > 0 {
            shown.push(format!("{MARGIN}…"));
        }
        for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
            let sign = match change.tag() {
                ChangeTag::Delete => '-',
                ChangeTag::Insert => '+',
                ChangeTag::Equal => ' ',
            };
            shown.push(format!("{MARGIN}{sign} {}", super::ui::cut(change.value().trim_end(), WIDTH)));
        }
    }
    if shown.len() > MOST {
        let more = shown.len() - MOST;
        shown.truncate(MOST);
        shown.push(format!("{MARGIN}… {more} more lines"));
    }
    shown
}

/// What a shown line is of a change.
pub(super) fn kind(line: &str) -> Kind {
    match line.strip_prefix(MARGIN).and_then(|rest| rest.chars().next()) {
        Some('-') => Kind::Removed,
        Some('+') => Kind::Added,
        _ => Kind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_shown_with_what_is_around_it() {
        let shown = lines("a\nb\nc\nd\n", "a\nB\nc\nd\n");
        assert_eq!(shown, ["  │   a", "  │ - b", "  │ + B", "  │   c"]);
        let kinds: Vec<Kind> = shown.iter().map(|line| kind(line)).collect();
        assert_eq!(kinds, [Kind::Other, Kind::Removed, Kind::Added, Kind::Other]);
        assert_eq!(lines("", "new\n"), ["  │ + new"]);
        let long: String = (0..100).map(|n| format!("{n}\n")).collect();
        assert_eq!(lines("", &long).last().unwrap(), "  │ … 60 more lines");
        assert_eq!(lines("", &"x".repeat(LARGE + 1)).len(), 1);
    }
}
