//! Opening and closing a store: who may, what is refused and left as it was, what is completed.

mod store_common;

use std::fs;

use store_common::{batch, hash, open};
use wharf::store::{Options, Store, StoreError};

#[tokio::test]
async fn the_second_daemon_is_refused_and_told_which_process_is_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let error = Store::open(dir.path(), Options::default()).err().unwrap();
    assert_eq!(error, StoreError::Locked { dir: dir.path().to_owned(), pid: Some(std::process::id()) });
    assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
    store.close().await.unwrap();
    open(dir.path());
}

#[tokio::test]
async fn a_closed_store_writes_what_was_queued_and_takes_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let clone = store.clone();
    let queued: Vec<_> = (0..200)
        .map(|i| {
            store.submit(batch(|b| {
                b.put_meta(format!("{i}"), b"x");
            }))
        })
        .collect();
    store.close().await.unwrap();
    for commit in queued {
        assert_eq!(commit.await, Ok(()));
    }
    assert_eq!(
        clone
            .commit(batch(|b| {
                b.put_meta("late", b"x");
            }))
            .await,
        Err(StoreError::Closed)
    );
    assert_eq!(clone.meta("199").unwrap().as_deref(), Some(&b"x"[..]));
    drop(clone);
    // Dropping is closing too, and nobody needs to have waited.
    let store = open(dir.path());
    drop(store.submit(batch(|b| {
        b.put_meta("dropped", b"x");
    })));
    drop(store);
    assert_eq!(open(dir.path()).meta("dropped").unwrap().as_deref(), Some(&b"x"[..]));
}

#[tokio::test]
async fn more_than_the_queue_takes_is_refused_and_ready_waits() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Options { queue: 64 * 1024, ..Options::default() }).unwrap();
    let fill = |i: u32| {
        batch(|b| {
            b.put_meta(format!("{i}"), [0; 8192]);
        })
    };
    let commits: Vec<_> = (0..1000).map(|i| store.submit(fill(i))).collect();
    let mut refused = 0;
    for commit in commits {
        match commit.await {
            Ok(()) => {}
            Err(StoreError::Overloaded { queued, limit: 65536 }) => {
                assert!(queued > 0);
                refused += 1;
            }
            Err(e) => panic!("{e}"),
        }
    }
    assert!(refused > 0);
    // Who can't go back waits instead, all at once, and nobody is refused.
    let patient: Vec<_> = (1000..2000)
        .map(|i| {
            let (store, batch) = (store.clone(), fill(i));
            tokio::spawn(async move { store.commit_when_possible(batch).await })
        })
        .collect();
    for commit in patient {
        commit.await.unwrap().unwrap();
    }
    assert!((1000..2000).all(|i| store.meta(&i.to_string()).unwrap().is_some()));
    for i in 0..100 {
        store.ready().await;
        store.commit(fill(i)).await.unwrap();
    }
}

#[tokio::test]
async fn a_store_whose_making_was_cut_short_is_made() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    // A crash after any step: the marker is there, the description is not, the parts are whole, half or absent.
    for part in [None, Some("registry/conf"), Some("registry"), Some("log/version"), Some("log")] {
        fs::write(dir.path().join("making"), b"").unwrap();
        fs::remove_file(dir.path().join("store.json")).unwrap();
        if let Some(part) = part {
            let part = dir.path().join(part);
            if part.is_dir() { fs::remove_dir_all(part).unwrap() } else { fs::remove_file(part).unwrap() }
        }
        let store = open(dir.path());
        store
            .commit(batch(|b| {
                b.put_meta("a", b"b");
            }))
            .await
            .unwrap();
        assert!(!dir.path().join("making").exists());
    }
    // After the last step only the marker is left.
    fs::write(dir.path().join("making"), b"").unwrap();
    assert_eq!(open(dir.path()).meta("a").unwrap().as_deref(), Some(&b"b"[..]));
}

#[tokio::test]
async fn what_can_not_be_read_is_refused_and_left_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store
        .commit(batch(|b| {
            b.put_meta("a", b"b");
        }))
        .await
        .unwrap();
    store.close().await.unwrap();
    let description = dir.path().join("store.json");
    let good = fs::read_to_string(&description).unwrap();
    let newer = good.replace("\"format\": 2", "\"format\": 7");
    let older = good.replace("\"format\": 2", "\"format\": 1");
    let cases = [("newer", Some(newer)), ("older", Some(older)), ("empty", Some(String::new())), ("gone", None)];
    for (case, text) in cases {
        match &text {
            Some(text) => fs::write(&description, text).unwrap(),
            None => fs::remove_file(&description).unwrap(),
        }
        let before = hash(dir.path());
        let error = Store::open(dir.path(), Options::default()).err().unwrap();
        match (case, &error) {
            ("newer", StoreError::Newer { path, found: 7, known: 2 })
            | ("older", StoreError::Older { path, found: 1, known: 2 })
            | (_, StoreError::Unreadable { path, .. }) => {
                assert_eq!(path, &description, "{case}");
            }
            _ => panic!("{case}: {error}"),
        }
        assert_eq!(hash(dir.path()), before, "{case}");
        fs::write(&description, &good).unwrap();
    }
    for part in ["registry/db", "registry/conf", "log/version"] {
        let (part, aside) = (dir.path().join(part), dir.path().join("aside"));
        fs::rename(&part, &aside).unwrap();
        let before = hash(dir.path());
        let error = Store::open(dir.path(), Options::default()).err().unwrap();
        assert!(matches!(&error, StoreError::Unreadable { path, .. } if *path == part), "{error}");
        assert_eq!(hash(dir.path()), before);
        fs::rename(&aside, &part).unwrap();
    }
    assert_eq!(open(dir.path()).meta("a").unwrap().as_deref(), Some(&b"b"[..]));
}

#[test]
fn the_directory_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let inner = dir.path().join("a/b");
    drop(open(&inner));
    let mode = |name: &str| fs::metadata(inner.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(""), 0o700);
    for name in ["store.json", "lock", "witness"] {
        assert_eq!(mode(name), 0o600, "{name}");
    }
}
