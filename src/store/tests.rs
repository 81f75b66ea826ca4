//! What only the inside shows: which file is synced when, and what a failed sync does.

use std::{os::unix::fs::MetadataExt, path::Path};

use super::{Batch, IdempotencyRecord, Options, Place, Store, StoreError, registry::Tree};
use crate::domain::{Labels, PermissionPolicy, Progress, Run, SessionId, SessionRecord, Timestamp};

fn record(id: &SessionId) -> SessionRecord {
    SessionRecord {
        id: id.clone(),
        key: None,
        agent: "demo".to_owned(),
        workspace: "ws_019aa5a0-0000-7000-8000-000000000000".parse().unwrap(),
        created: Timestamp::from_millis(0),
        model: None,
        mode: None,
        cwd: "/workspace".to_owned(),
        sealed_mcp_servers: None,
        permissions: PermissionPolicy::Ask,
        sealed_env: None,
        agent_session_id: None,
        project: None,
        channel: None,
        task_id: None,
        mcp_session_id: None,
        labels: Labels::new(),
        caps: crate::domain::Caps::default(),
        closed: None,
    }
}

fn store(dir: &Path) -> Store {
    Store::open(dir, Options::default()).unwrap()
}

fn batch(fill: impl FnOnce(&mut Batch)) -> Batch {
    let mut batch = Batch::new();
    fill(&mut batch);
    batch
}

#[tokio::test]
async fn a_registry_change_syncs_sleds_own_file_and_a_log_change_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let db = std::fs::metadata(dir.path().join("registry/db")).unwrap().ino();
    let faults = &store.shared().registry.faults;
    let before = faults.synced().len();
    let id = SessionId::new("demo");
    store
        .commit(batch(|b| {
            b.put_session(record(&id));
        }))
        .await
        .unwrap();
    assert_eq!(faults.synced()[before..], [db]);
    let run = Run { first_seq: 1, count: 1, bytes: "id: 1\ndata: {}\n\n".into() };
    store
        .commit(batch(|b| {
            b.append(id.clone(), &run);
        }))
        .await
        .unwrap();
    assert_eq!(faults.synced().len(), before + 1);
}

#[tokio::test]
async fn a_failed_sync_fails_the_group_hides_its_changes_and_ends_writing() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let (old, new) = (SessionId::new("demo"), SessionId::new("demo"));
    store
        .commit(batch(|b| {
            b.put_session(record(&old));
        }))
        .await
        .unwrap();
    store.shared().registry.faults.fail_next();
    let changed = SessionRecord { model: Some("other".to_owned()), ..record(&old) };
    let failed = batch(|b| {
        b.put_session(changed).put_session(record(&new));
    });
    let error = store.commit(failed).await.unwrap_err();
    assert!(matches!(&error, StoreError::Failed { why } if why.contains("made by a test")), "{error}");
    assert_eq!(store.health(), Err(error.clone()));
    assert_eq!(
        store
            .commit(batch(|b| {
                b.put_meta("a", b"b");
            }))
            .await,
        Err(error.clone())
    );
    // What sled holds but the disk may not is not shown.
    assert!(
        store.shared().registry.get_written(Tree::Sessions, &super::key::session(&new).unwrap()).unwrap().is_some()
    );
    assert_eq!(store.session(&new).unwrap(), None);
    assert_eq!(store.session(&old).unwrap(), Some(record(&old)));
    let listed: Vec<SessionId> = store.sessions(None, 10).unwrap().into_iter().map(|s| s.id).collect();
    assert_eq!(listed, [old]);
    assert_eq!(store.close().await, Err(error));
}

#[tokio::test]
async fn one_refused_batch_of_a_group_does_not_touch_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let ids: Vec<SessionId> = (0..4).map(|_| SessionId::new("demo")).collect();
    let keyed = |id: &SessionId| SessionRecord { key: Some("one".parse().unwrap()), ..record(id) };
    // Submitted before the writer can have taken the first, they are likely one group; the result is the same anyway.
    let commits = [
        store.submit(batch(|b| {
            b.put_session(keyed(&ids[0]));
        })),
        store.submit(batch(|b| {
            b.put_session(record(&ids[1])).put_session(keyed(&ids[2]));
        })),
        store.submit(batch(|b| {
            b.put_session(record(&ids[3])).put_progress(ids[3].clone(), progress(0));
        })),
    ];
    let mut results = Vec::new();
    for commit in commits {
        results.push(commit.await);
    }
    assert_eq!(results[0], Ok(()));
    let taken = StoreError::Taken { what: "session key", name: "default:one".to_owned(), by: ids[0].to_string() };
    assert_eq!(results[1], Err(taken));
    assert_eq!(results[2], Ok(()));
    assert_eq!(store.session(&ids[1]).unwrap(), None);
    assert_eq!(store.session_by_key(&"one".parse().unwrap()).unwrap(), Some(ids[0].clone()));
    assert_eq!(store.progress(&ids[3]).unwrap(), Some(progress(0)));
}

/// All that clients can read of two sessions.
fn read(store: &Store, ids: &[SessionId; 2]) -> String {
    let of = ids.each_ref().map(|id| {
        let log = (store.progress(id).unwrap(), store.runs(id, 0, usize::MAX).unwrap());
        (store.session(id).unwrap(), store.idempotency(id, "key").unwrap(), log)
    });
    let ordered = store.ordered(Place::default(), usize::MAX, |_| Ok(true)).unwrap();
    format!("{of:?} {ordered:?} {:?}", store.sessions(None, 10).unwrap())
}

#[tokio::test]
async fn what_was_synced_but_not_acknowledged_is_not_read_before_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let ids = [SessionId::new("demo"), SessionId::new("demo")];
    let [old, new] = ids.clone();
    let run = |first_seq: u64| Run { first_seq, count: 1, bytes: format!("id: {first_seq}\ndata: {{}}\n\n").into() };
    store
        .commit(batch(|b| {
            b.put_session(record(&old)).append(old.clone(), run(1)).put_progress(old.clone(), progress(1));
        }))
        .await
        .unwrap();
    let before = read(&store, &ids);
    store.shared().registry.faults.fail_next_witness();
    let changed = SessionRecord { model: Some("other".to_owned()), ..record(&old) };
    let key = IdempotencyRecord { request_hash: [7; 32], prompt: 1, time: Timestamp::from_millis(0) };
    let failed = batch(|b| {
        b.put_session(changed.clone()).put_session(record(&new));
        b.append(old.clone(), run(2)).put_progress(old.clone(), progress(2)).put_idempotency(old.clone(), "key", key);
    });
    let error = store.commit(failed).await.unwrap_err();
    assert!(matches!(&error, StoreError::Failed { why } if why.contains("witness")), "{error}");
    // Its log and registry have it, and a restart may find it or not: so nobody reads it, and no retry is answered by it.
    assert!(
        store.shared().registry.get_written(Tree::Sessions, &super::key::session(&new).unwrap()).unwrap().is_some()
    );
    assert_eq!(read(&store, &ids), before);
    assert_eq!(store.close().await, Err(error));

    let store = Store::open(dir.path(), Options::default()).unwrap();
    assert_eq!(store.session(&old).unwrap(), Some(changed));
    assert_eq!(store.session(&new).unwrap(), Some(record(&new)));
    assert!(store.idempotency(&old, "key").unwrap().is_some(), "what was synced is found again");
    assert_eq!(store.runs(&old, 2, 1).unwrap(), [run(2)]);
}

fn progress(last_seq: u64) -> Progress {
    Progress { last_seq, ..Progress::new(Timestamp::from_millis(0)) }
}
