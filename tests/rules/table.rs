//! The table: every rule of sessions, workspaces, access and the command line, in the words in which it was laid down,
//! and the tests that show it. It is held against the sources of the tests, so that none is renamed or removed unseen.

mod access;
mod commands;
mod sessions;
mod workspaces;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A line of rules, cut into clauses that are the whole line; each with the tests that show it: a file and a name.
struct Line {
    says: &'static str,
    shown: &'static [(&'static str, &'static [(&'static str, &'static str)])],
}

fn lines() -> impl Iterator<Item = &'static Line> {
    let all = [sessions::LINES, workspaces::LINES, access::LINES, commands::LINES];
    all.into_iter().flatten()
}

/// The names of the tests in a source that run by themselves.
fn tests_in(source: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut marked = false;
    for line in source.lines().map(str::trim) {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            marked = true;
        } else if line.starts_with("#[ignore") {
            marked = false;
        } else if let Some((_, rest)) = line.split_once("fn ")
            && std::mem::take(&mut marked)
        {
            found.insert(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
        }
    }
    found
}

fn source(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{file}: {e}"))
}

#[test]
fn every_clause_of_every_rule_is_shown_by_a_test_that_is_there() {
    let mut wrong = Vec::new();
    for (clause, tests) in lines().flat_map(|line| line.shown) {
        if tests.is_empty() {
            wrong.push(format!("nothing shows: {clause}"));
        }
        for (file, name) in *tests {
            if !tests_in(&source(file)).contains(*name) {
                wrong.push(format!("{file} has no test {name}, which is to show: {clause}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_clauses_of_a_line_leave_no_word_of_it_out() {
    let mut wrong = Vec::new();
    for line in lines() {
        let mut rest = line.says;
        for (clause, _) in line.shown {
            let Some((between, after)) = rest.split_once(clause) else {
                wrong.push(format!("not in its place: {clause}"));
                continue;
            };
            if between.chars().any(char::is_alphanumeric) {
                wrong.push(format!("left out: {between}"));
            }
            rest = after;
        }
        if rest.chars().any(char::is_alphanumeric) {
            wrong.push(format!("left out: {rest}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_test_of_this_program_is_in_the_table() {
    let named: BTreeSet<&str> =
        lines().flat_map(|line| line.shown).flat_map(|(_, tests)| *tests).map(|(_, name)| *name).collect();
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rules");
    let files: Vec<PathBuf> =
        std::fs::read_dir(here).expect("this directory").map(|entry| entry.expect("a file").path()).collect();
    for file in files.iter().filter(|file| file.is_file() && !file.ends_with("table.rs")) {
        for test in tests_in(&std::fs::read_to_string(file).expect("a source")) {
            assert!(named.contains(test.as_str()), "{} has {test}, and no rule names it", file.display());
        }
    }
}
