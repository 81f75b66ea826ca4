//! What was acknowledged is there after a SIGKILL at any instant, and in a copy taken while the writer stands still.

mod store_common;

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use store_common::{batch, copy, open, progress, run, session};
use wharf::domain::{SessionId, SessionRecord};
use wharf::store::Store;

const DIR: &str = "WHARF_TEST_STORE_DIR";
const WRITERS: u64 = 4;

/// The child: several writers commit as fast as they can, each to a session of its own, and print what is
/// acknowledged: `<session> <last seq>`.
#[test]
fn child() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let store = open(Path::new(&dir));
    runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..WRITERS {
            tasks.spawn(write(store.clone(), SessionId::new("demo")));
        }
        tasks.join_next().await.unwrap().unwrap();
    });
}

async fn write(store: Store, id: SessionId) {
    let mut last = 0;
    store
        .commit(batch(|b| {
            b.put_session(session(&id)).put_progress(id.clone(), progress(0));
        }))
        .await
        .unwrap();
    for round in 0.. {
        let count = 1 + round % 3;
        let p = progress(last + count);
        let b = batch(|b| {
            b.append(id.clone(), run(&id, last + 1, count)).put_progress(id.clone(), &p);
            if round % 20 == 7 {
                b.put_session(SessionRecord { model: Some(format!("{}", last + count)), ..session(&id) });
            }
        });
        store.commit(b).await.unwrap();
        last += count;
        println!("ack {id} {last}");
    }
}

struct Writer(Child, BufReader<ChildStdout>);

impl Writer {
    fn start(dir: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture"])
            .env(DIR, dir)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Self(child, out)
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }

    /// The next acknowledgement.
    fn next(&mut self) -> Option<(SessionId, u64)> {
        loop {
            let mut line = String::new();
            if self.1.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            // The last line may be cut short by the kill.
            let mut words = line.strip_suffix('\n').unwrap_or("").split(' ');
            if let (Some("ack"), Some(id), Some(seq)) = (words.next(), words.next(), words.next()) {
                return Some((id.parse().unwrap(), seq.parse().unwrap()));
            }
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn check(store: &Store, acknowledged: &[(SessionId, u64)]) {
    for (id, seq) in acknowledged {
        let p = store.progress(id).unwrap().unwrap_or_else(|| panic!("{id} has no progress"));
        assert!(p.last_seq >= *seq, "{id}: {seq} was acknowledged, {} is there", p.last_seq);
    }
    for (id, p) in store.progress_all().unwrap() {
        let runs = store.runs(&id, 1, usize::MAX).unwrap();
        let seqs: Vec<u64> = runs.iter().flat_map(|r| r.events().map(|(seq, _)| seq).collect::<Vec<_>>()).collect();
        assert_eq!(seqs, (1..=p.last_seq).collect::<Vec<_>>(), "{id}");
        assert!(store.session(&id).unwrap().is_some(), "{id}");
    }
}

#[test]
fn everything_acknowledged_survives_sigkill() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    for round in 0..6 {
        let mut writer = Writer::start(dir.path());
        for _ in 0..(20 + round * 97) {
            acknowledged.push(writer.next().expect("the writer goes on until it is killed"));
        }
        writer.signal(Signal::KILL);
        while let Some(more) = writer.next() {
            acknowledged.push(more);
        }
        drop(writer);
        check(&open(dir.path()), &acknowledged);
    }
}

#[test]
fn everything_acknowledged_is_in_a_copy_taken_while_the_writer_stands_still() {
    let dir = tempfile::tempdir().unwrap();
    let live = dir.path().join("live");
    let mut writer = Writer::start(&live);
    let mut acknowledged = Vec::new();
    for round in 0..4 {
        for _ in 0..150 {
            acknowledged.push(writer.next().unwrap());
        }
        writer.signal(Signal::STOP);
        let image = dir.path().join(format!("copy-{round}"));
        copy(&live, &image);
        writer.signal(Signal::CONT);
        check(&open(&image), &acknowledged);
    }
}

#[test]
fn a_store_killed_while_it_is_made_is_made() {
    for lines in 0..3 {
        let dir = tempfile::tempdir().unwrap();
        let live = dir.path().join("live");
        let mut writer = Writer::start(&live);
        // The directory appears first; the kill hits some step after it.
        let steps = ["lock", "making", "registry"];
        while !live.join(steps[lines]).exists() {
            std::thread::yield_now();
        }
        writer.signal(Signal::KILL);
        while writer.next().is_some() {}
        drop(writer);
        check(&open(&live), &[]);
    }
}
