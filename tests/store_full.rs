//! A disk that takes no more (a limit on the size of files stands for it): who waits is told, nothing acknowledged is
//! lost, and the store can still be read.

mod store_common;

use std::{path::Path, process::Command};

use rustix::process::{Resource, Rlimit, setrlimit};
use store_common::{batch, open, progress, session, sized_run};
use wharf::{
    domain::SessionId,
    store::{Store, StoreError},
};

const DIR: &str = "WHARF_TEST_FULL_DIR";
const LIMIT: u64 = 1024 * 1024;

/// The child: fills the log or the registry until the disk takes no more, and prints how far it came.
#[test]
fn child() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let store = open(Path::new(&dir));
        let id = SessionId::new("demo");
        store
            .commit(batch(|b| {
                b.put_session(session(&id));
            }))
            .await
            .unwrap();
        setrlimit(Resource::Fsize, Rlimit { current: Some(LIMIT), maximum: Some(LIMIT) }).unwrap();
        let (mut last, mut error) = (0, None);
        for n in 1..2000 {
            let written = if std::env::var("WHARF_TEST_FULL_PART").as_deref() == Ok("log") {
                let run = sized_run(&id, n, 30_000);
                store
                    .commit(batch(|b| {
                        b.append(id.clone(), run).put_progress(id.clone(), progress(n));
                    }))
                    .await
            } else {
                store
                    .commit(batch(|b| {
                        b.put_meta(format!("{n:06}"), [7; 16_000]);
                    }))
                    .await
            };
            match written {
                Ok(()) => last = n,
                Err(e) => {
                    error = Some(e);
                    break;
                }
            }
        }
        let error = error.expect("the disk takes no more at some time");
        assert!(matches!(error, StoreError::Failed { .. }), "{error:?}");
        assert_eq!(store.health(), Err(error.clone()));
        let late = store
            .commit(batch(|b| {
                b.put_meta("late", b"");
            }))
            .await;
        assert_eq!(late, Err(error));
        check(&store, &id, last);
        println!("filled {id} {last}");
    });
}

fn check(store: &Store, id: &SessionId, last: u64) {
    assert!(store.session(id).unwrap().is_some());
    let metas = (1..).take_while(|n| store.meta(&format!("{n:06}")).unwrap().is_some()).count();
    let events = store.runs(id, 1, usize::MAX).unwrap().len();
    assert!(metas.max(events) as u64 >= last, "{last} were acknowledged, {metas} and {events} are there");
    assert_eq!(store.meta("late").unwrap(), None);
}

fn fill(part: &str) {
    let dir = tempfile::tempdir().unwrap();
    // The shell ignores the signal that a write beyond the limit raises, and what it starts goes on ignoring it.
    let out = Command::new("sh")
        .args(["-c", "trap '' XFSZ; exec \"$0\" --exact child --nocapture"])
        .arg(std::env::current_exe().unwrap())
        .env(DIR, dir.path())
        .env("WHARF_TEST_FULL_PART", part)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{said}{}", String::from_utf8_lossy(&out.stderr));
    let line = said.lines().find_map(|l| l.strip_prefix("filled ")).expect("the child tells how far it came");
    let (id, last) = line.split_once(' ').unwrap();
    check(&open(dir.path()), &id.parse().unwrap(), last.parse().unwrap());
}

#[test]
fn a_full_disk_under_the_log_loses_nothing_acknowledged() {
    fill("log");
}

#[test]
fn a_full_disk_under_the_registry_loses_nothing_acknowledged() {
    fill("registry");
}
