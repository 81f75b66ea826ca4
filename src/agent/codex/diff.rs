//! Changes of files as ACP's diffs.

use serde_json::{Value, json};

/// What a change of one file shows.
pub(super) fn shown(change: &Value) -> Vec<Value> {
    let text = change["diff"].as_str().unwrap_or_default();
    let Some(path) = place(change) else { return Vec::new() };
    let diff = |old: Option<&str>, new: &str| json!({"type": "diff", "path": path, "oldText": old, "newText": new});
    match change["kind"]["type"].as_str() {
        Some("add") => vec![diff(None, text)],
        Some("delete") => vec![diff(Some(text), "")],
        _ => hunks(text).iter().map(|hunk| diff(Some(&hunk.old), &hunk.new)).collect(),
    }
}

/// Where a change is: the file that there is after it, and the line of its first hunk.
pub(super) fn location(change: &Value) -> Option<Value> {
    let path = place(change)?;
    let line = match change["kind"]["type"].as_str() {
        Some("add" | "delete") => None,
        _ => hunks(change["diff"].as_str().unwrap_or_default()).first().and_then(|hunk| hunk.line),
    };
    Some(line.map_or_else(|| json!({"path": path}), |line| json!({"path": path, "line": line})))
}

/// The file that there is after a change.
pub(super) fn place(change: &Value) -> Option<&str> {
    change["kind"]["move_path"].as_str().or_else(|| change["path"].as_str())
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Hunk {
    line: Option<u32>,
    old: String,
    new: String,
}

/// The hunks of a unified diff, each with its text before and after.
fn hunks(diff: &str) -> Vec<Hunk> {
    // Behind the hunks of a file that was moved stands where to.
    let diff = diff.rfind("\n\nMoved to: ").map_or(diff, |at| &diff[..at]);
    let mut hunks: Vec<Hunk> = Vec::new();
    for line in diff.split_inclusive('\n') {
        if let Some(header) = line.strip_prefix("@@") {
            let start = header.split_once('+').map(|(_, rest)| rest);
            let line = start.and_then(|rest| rest.split([',', ' ']).next()?.parse().ok());
            hunks.push(Hunk { line, ..Hunk::default() });
            continue;
        }
        let Some(hunk) = hunks.last_mut() else { continue };
        match line.as_bytes().first() {
            Some(b' ') => {
                hunk.old.push_str(&line[1..]);
                hunk.new.push_str(&line[1..]);
            }
            Some(b'-') => hunk.old.push_str(&line[1..]),
            Some(b'+') => hunk.new.push_str(&line[1..]),
            // An empty line that lost its blank; "\ No newline at end of file" says nothing of the text.
            Some(b'\n') => {
                hunk.old.push('\n');
                hunk.new.push('\n');
            }
            _ => {}
        }
    }
    hunks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_is_one_diff_per_hunk() {
        let change = json!({"path": "/a", "kind": {"type": "update", "move_path": "/b"},
            "diff": "@@ -1,3 +1,3 @@\n one\n-two\n+zwei\n three\n@@ -9 +9,2 @@\n-x\n+é\n+y\n\n\nMoved to: /b"});
        let expected = [
            json!({"type": "diff", "path": "/b", "oldText": "one\ntwo\nthree\n", "newText": "one\nzwei\nthree\n"}),
            json!({"type": "diff", "path": "/b", "oldText": "x\n", "newText": "é\ny\n"}),
        ];
        assert_eq!(shown(&change), expected);
        assert_eq!(location(&change), Some(json!({"path": "/b", "line": 1})));
    }

    #[test]
    fn whole_files_come_and_go() {
        let add = json!({"path": "/a", "kind": {"type": "add"}, "diff": "@@ no hunk\n"});
        assert_eq!(shown(&add), [json!({"type": "diff", "path": "/a", "oldText": null, "newText": "@@ no hunk\n"})]);
        let delete = json!({"path": "/a", "kind": {"type": "delete"}, "diff": "x\n"});
        assert_eq!(shown(&delete), [json!({"type": "diff", "path": "/a", "oldText": "x\n", "newText": ""})]);
        assert_eq!(location(&delete), Some(json!({"path": "/a"})));
        assert!(shown(&json!({})).is_empty() && location(&json!({})).is_none());
    }
}
