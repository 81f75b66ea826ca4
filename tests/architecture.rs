//! The rooms import in one direction only, and each foreign library has one room that names it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Room, and what it may import of the other rooms.
const MAY_IMPORT: [(&str, &[&str]); 16] = [
    ("domain", &[]),
    ("seal", &[]),
    ("crash", &[]),
    ("embedded", &[]),
    ("demo", &[]),
    ("agent", &["domain"]),
    ("store", &["domain", "crash"]),
    ("engine", &["domain"]),
    ("tether", &["domain"]),
    ("workspace", &["domain", "store", "engine", "tether", "seal", "embedded", "crash"]),
    ("terminal", &["domain", "tether", "workspace"]),
    ("session", &["domain", "store", "engine", "tether", "workspace", "agent", "seal", "crash"]),
    ("config", &["domain"]),
    ("api", &["domain", "session", "terminal", "workspace", "store"]),
    ("cli", &["domain", "api", "config", "daemon", "session", "terminal", "workspace"]),
    (
        "daemon",
        &["domain", "store", "engine", "tether", "terminal", "workspace", "agent", "session", "api", "config", "seal"],
    ),
];

/// A library, and the only room that names it.
const NAMED_BY: [(&str, &str); 8] = [
    ("prometheus_client", "api"),
    ("bollard", "engine"),
    ("sled", "store"),
    ("fjall", "store"),
    ("axum", "api"),
    ("reqwest", "cli"),
    ("clap", "cli"),
    ("chacha20poly1305", "seal"),
];

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// All files below `src` as (room, path, code without comments and tests).
fn files() -> Vec<(String, PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    sources(&root, &mut found);
    assert!(found.len() > 100, "the sources are found");
    found
        .into_iter()
        .map(|path| {
            let inner = path.strip_prefix(&root).expect("below src").to_owned();
            let room = inner.components().next().expect("a room").as_os_str().to_string_lossy();
            let room = room.trim_end_matches(".rs").to_owned();
            let text = std::fs::read_to_string(&path).expect("a source");
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            let code = code.lines().filter(|l| !l.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
            let is_test = inner.ends_with("tests.rs") || inner.components().any(|c| c.as_os_str() == "tests");
            (room, inner, if is_test { String::new() } else { code })
        })
        .collect()
}

/// The rooms that some code names: `crate::room`, also in `use crate::{a, b}`.
fn named(code: &str) -> BTreeSet<String> {
    let mut rooms = BTreeSet::new();
    for part in code.split("crate::").skip(1) {
        if let Some(list) = part.strip_prefix('{') {
            let mut depth = 0;
            let mut name = String::new();
            for c in list.chars() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => rooms.extend(Some(std::mem::take(&mut name)).filter(|n| !n.is_empty())),
                    c if depth == 0 && !name.contains(':') && !c.is_whitespace() => name.push(c),
                    _ => {}
                }
            }
            rooms.insert(name);
        } else {
            rooms.insert(part.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
        }
    }
    rooms.into_iter().map(|n| n.split(':').next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn rooms_import_in_one_direction() {
    let rules: BTreeMap<&str, &[&str]> = MAY_IMPORT.into();
    let mut wrong = Vec::new();
    for (room, path, code) in files() {
        if ["main", "lib", "bin"].contains(&room.as_str()) {
            continue;
        }
        let allowed = rules.get(room.as_str()).unwrap_or_else(|| panic!("{room} has a rule"));
        for other in named(&code) {
            if rules.contains_key(other.as_str()) && other != room && !allowed.contains(&other.as_str()) {
                wrong.push(format!("{}: {room} must not import {other}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn each_library_is_named_by_one_room() {
    let mut wrong = Vec::new();
    for (room, path, code) in files() {
        for (library, owner) in NAMED_BY {
            let uses = code.contains(&format!("{library}::")) || code.contains(&format!("use {library};"));
            if uses && room != owner {
                wrong.push(format!("{}: only {owner} names {library}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_room_is_small_and_says_what_it_is() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    for (_, path, _) in files() {
        let text = std::fs::read_to_string(root.join(&path)).expect("a source");
        if !text.starts_with("//! ") {
            wrong.push(format!("{} does not open with a //! sentence", path.display()));
        }
        if text.lines().count() > 400 {
            wrong.push(format!("{} has {} lines: two ideas in one room", path.display(), text.lines().count()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
