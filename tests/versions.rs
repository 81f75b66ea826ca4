//! `make versions`: the pinned versions move all together or not at all.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

/// A copy of the scripts and of the pinned versions, with an npm that answers by this shell text.
fn copy(npm: &str) -> TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    let source = Path::new(env!("CARGO_MANIFEST_DIR"));
    for folder in ["scripts", "images", "bin"] {
        fs::create_dir(dir.path().join(folder)).expect("a folder");
    }
    for file in ["scripts/versions.sh", "scripts/lib.sh", "Makefile"] {
        fs::copy(source.join(file), dir.path().join(file)).expect("a copy");
    }
    let pinned = "# why\nDEBIAN=bookworm\nNPM=1.2.3\nONE=@scope/one@1.0.0\nTWO=two@2.0.0\n";
    fs::write(dir.path().join("images/versions"), pinned).expect("the pinned versions");
    let program = dir.path().join("bin/npm");
    fs::write(&program, format!("#!/bin/sh\npackage=$3\n{npm}\n")).expect("an npm");
    fs::set_permissions(&program, Permissions::from_mode(0o755)).expect("a program");
    dir
}

fn versions(dir: &TempDir, arguments: &[&str]) -> (Output, String) {
    let path = format!("{}:{}", dir.path().join("bin").display(), std::env::var("PATH").expect("a PATH"));
    let mut make = Command::new("make");
    // What the make that runs the tests was called with is none of this one's.
    make.env_remove("MAKEFLAGS").env_remove("MAKEOVERRIDES").env("PATH", path);
    let output =
        make.arg("--silent").arg("versions").args(arguments).current_dir(dir.path()).output().expect("make runs");
    let file = fs::read_to_string(dir.path().join("images/versions")).expect("the pinned versions");
    let left = fs::read_dir(dir.path().join("images")).expect("the folder").count();
    assert_eq!(left, 1, "nothing beside the file is left");
    (output, file)
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const NEWER: &str = r#"case $package in
    @scope/one@latest) echo 1.1.0 ;;
    two@latest) echo 2.0.0 ;;
    two@2.0.1-beta.3) echo 2.0.1-beta.3 ;;
    npm@1.3.0) echo 1.3.0 ;;
    *) exit 1 ;;
esac"#;

#[test]
fn every_agent_moves_to_its_newest_and_the_rest_of_the_file_stays() {
    let dir = copy(NEWER);
    let (output, file) = versions(&dir, &[]);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(file, "# why\nDEBIAN=bookworm\nNPM=1.2.3\nONE=@scope/one@1.1.0\nTWO=two@2.0.0\n");
    assert!(said(&output).contains("ONE 1.0.0 -> 1.1.0") && said(&output).contains("TWO stays 2.0.0"));
}

#[test]
fn only_what_was_named_moves() {
    let dir = copy(NEWER);
    let (output, file) = versions(&dir, &["TWO=2.0.1-beta.3", "NPM=1.3.0"]);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(file, "# why\nDEBIAN=bookworm\nNPM=1.3.0\nONE=@scope/one@1.0.0\nTWO=two@2.0.1-beta.3\n");
}

#[test]
fn a_registry_that_does_not_answer_for_all_changes_nothing() {
    for (npm, arguments) in [
        ("exit 1", &[][..]),
        ("case $package in two@*) exit 1 ;; *) echo 9.9.9 ;; esac", &[]),
        ("case $package in two@*) ;; *) echo 9.9.9 ;; esac", &[]),
        ("echo '<html>proxy says no</html>'", &[]),
        (NEWER, &["ONE=5.0.0"]),
        (NEWER, &["THREE=1.0.0"]),
        (NEWER, &["DEBIAN=trixie"]),
    ] {
        let dir = copy(npm);
        let before = fs::read_to_string(dir.path().join("images/versions")).expect("the pinned versions");
        let (output, file) = versions(&dir, arguments);
        assert!(!output.status.success(), "{npm} {arguments:?}");
        assert_eq!(file, before, "{npm} {arguments:?}");
        assert!(said(&output).contains("wharf: "), "{}", said(&output));
    }
}
