//! What was acknowledged is there after a SIGKILL at any instant, and in a copy taken while the writer stands still.

mod store_common;

use std::{path::Path, process::Command};

use rustix::process::Signal;
use store_common::{
    copy, open,
    writing::{self, Acks},
};
use wharf::store::Store;

/// Runs in the child; nothing in the tests' own process.
#[test]
fn child() {
    writing::child();
}

fn writer(dir: &Path) -> writing::Writer {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--nocapture"]);
    writing::Writer::start(command, dir, 0)
}

fn check(store: &Store, acks: &Acks) {
    let (wrong, _) = writing::check(store, acks).unwrap();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn everything_acknowledged_survives_sigkill() {
    let dir = tempfile::tempdir().unwrap();
    let mut acks = Acks::default();
    for round in 0..6 {
        let mut writer = writer(dir.path());
        for _ in 0..(20 + round * 97) {
            assert!(writer.next(&mut acks), "the writer goes on until it is killed");
        }
        writer.signal(Signal::KILL);
        writer.rest(&mut acks);
        check(&open(dir.path()), &acks);
    }
}

#[test]
fn everything_acknowledged_is_in_a_copy_taken_while_the_writer_stands_still() {
    let dir = tempfile::tempdir().unwrap();
    let live = dir.path().join("live");
    let mut writer = writer(&live);
    let mut acks = Acks::default();
    for round in 0..4 {
        for _ in 0..150 {
            assert!(writer.next(&mut acks), "the writer goes on");
        }
        writer.stop(&mut acks);
        let image = dir.path().join(format!("copy-{round}"));
        copy(&live, &image);
        writer.signal(Signal::CONT);
        check(&open(&image), &acks);
    }
}

#[test]
fn a_store_killed_while_it_is_made_is_made() {
    for lines in 0..3 {
        let dir = tempfile::tempdir().unwrap();
        let live = dir.path().join("live");
        let mut writer = writer(&live);
        // The directory appears first; the kill hits some step after it.
        let steps = ["lock", "making", "registry"];
        while !live.join(steps[lines]).exists() {
            std::thread::yield_now();
        }
        writer.signal(Signal::KILL);
        writer.rest(&mut Acks::default());
        check(&open(&live), &Acks::default());
    }
}
