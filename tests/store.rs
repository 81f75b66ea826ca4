//! The store as the other rooms use it: what it takes, what it refuses, what it finds again.

mod store_common;

use std::fs;

use store_common::{batch, open, permission, progress, prompt, run, session, workspace};
use wharf::domain::{PromptState, SessionId, SessionRecord, Timestamp, WorkspaceId, WorkspaceRecord};
use wharf::store::{Batch, IdempotencyRecord, Store, StoreError, TokenRecord};

#[tokio::test]
async fn everything_is_found_again_after_a_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let instance = store.instance().clone();
    let id = SessionId::new("claude");
    let home = WorkspaceRecord { name: Some("home".to_owned()), ..workspace(&WorkspaceId::new()) };
    let record = SessionRecord {
        key: Some("app:one".parse().unwrap()),
        workspace: home.id.clone(),
        agent_session_id: Some("agent-1".to_owned()),
        task_id: Some("task-1".to_owned()),
        ..session(&id)
    };
    let token = TokenRecord { name: "ci".to_owned(), hash: [7; 32], scopes: vec!["all".to_owned()], created: time(1) };
    let known = IdempotencyRecord { request_hash: [1; 32], prompt: 1, time: time(2) };
    let mut p = progress(3);
    p.agent_session_id = Some("agent-1".to_owned());
    let all = batch(|b| {
        b.put_workspace(home.clone()).put_session(record.clone()).put_token(token.clone()).put_meta("m", b"meta");
        b.append(id.clone(), run(&id, 1, 2)).append(id.clone(), run(&id, 3, 1)).put_progress(id.clone(), &p);
        b.put_prompt(id.clone(), prompt(1, PromptState::Done)).put_prompt(id.clone(), prompt(2, PromptState::Pending));
        b.put_permission(id.clone(), permission("z", 1)).put_permission(id.clone(), permission("a", 2));
        b.put_idempotency(id.clone(), "key", &known);
    });
    store.commit(all).await.unwrap();
    let check = |store: Store| {
        assert_eq!(store.instance(), &instance);
        assert_eq!(store.workspace(&home.id).unwrap().as_ref(), Some(&home));
        assert_eq!(store.workspace_by_name("home").unwrap().as_ref(), Some(&home.id));
        assert_eq!(store.session(&id).unwrap().as_ref(), Some(&record));
        assert_eq!(store.session_by_key(&"app:one".parse().unwrap()).unwrap().as_ref(), Some(&id));
        assert_eq!(store.sessions_by_agent_id("agent-1").unwrap(), std::slice::from_ref(&id));
        assert_eq!(store.sessions_by_agent_id("agent-").unwrap(), []);
        assert_eq!(store.sessions_of_workspace(&home.id).unwrap(), std::slice::from_ref(&id));
        assert_eq!(store.sessions_by_task("task-1").unwrap(), std::slice::from_ref(&id));
        assert_eq!(store.tokens().unwrap(), std::slice::from_ref(&token));
        assert_eq!(store.meta("m").unwrap().as_deref(), Some(&b"meta"[..]));
        assert_eq!(store.progress(&id).unwrap().as_ref(), Some(&p));
        assert_eq!(store.progress_all().unwrap(), [(id.clone(), p.clone())]);
        assert_eq!(store.runs(&id, 1, usize::MAX).unwrap(), [run(&id, 1, 2), run(&id, 3, 1)]);
        assert_eq!(store.prompt(&id, 2).unwrap(), Some(prompt(2, PromptState::Pending)));
        assert_eq!(store.prompts(&id, 1, 10).unwrap(), [prompt(2, PromptState::Pending)]);
        assert_eq!(store.prompts(&id, 0, 1).unwrap(), [prompt(1, PromptState::Done)]);
        assert_eq!(store.permissions(&id).unwrap(), [permission("z", 1), permission("a", 2)]);
        assert_eq!(store.permission(&id, "a").unwrap(), Some(permission("a", 2)));
        assert_eq!(store.idempotency(&id, "key").unwrap().as_ref(), Some(&known));
        assert_eq!(store.idempotency(&id, "ke").unwrap(), None);
        assert!(store.disk_use() > 0);
    };
    check(store);
    check(open(dir.path()));
}

#[tokio::test]
async fn names_and_keys_have_one_owner() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let named = |name: &str| WorkspaceRecord { name: Some(name.to_owned()), ..workspace(&WorkspaceId::new()) };
    let (first, second) = (named("same"), named("same"));
    store
        .commit(batch(|b| {
            b.put_workspace(first.clone());
        }))
        .await
        .unwrap();
    let refused = store
        .commit(batch(|b| {
            b.put_meta("x", b"1").put_workspace(second.clone());
        }))
        .await;
    let by = first.id.to_string();
    assert_eq!(refused, Err(StoreError::Taken { what: "workspace name", name: "same".to_owned(), by }));
    assert_eq!(store.meta("x").unwrap(), None);
    // Renamed, its old name is free in the same group.
    let renamed = WorkspaceRecord { name: Some("other".to_owned()), ..first.clone() };
    let commits = [
        store.submit(batch(|b| {
            b.put_workspace(renamed.clone());
        })),
        store.submit(batch(|b| {
            b.put_workspace(second.clone());
        })),
    ];
    for commit in commits {
        commit.await.unwrap();
    }
    assert_eq!(store.workspace_by_name("same").unwrap(), Some(second.id.clone()));
    assert_eq!(store.workspace_by_name("other").unwrap(), Some(first.id.clone()));
    store
        .commit(batch(|b| {
            b.delete_workspace(second.id.clone());
        }))
        .await
        .unwrap();
    assert_eq!(store.workspace_by_name("same").unwrap(), None);
    assert_eq!(store.workspace(&second.id).unwrap(), None);
}

#[tokio::test]
async fn a_gap_is_never_written() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let id = SessionId::new("demo");
    store
        .commit(batch(|b| {
            b.put_session(session(&id)).append(id.clone(), run(&id, 1, 3));
        }))
        .await
        .unwrap();
    for wrong in [1, 3, 5] {
        let bad = batch(|b| {
            b.put_meta("gap", b"1").append(id.clone(), run(&id, wrong, 1));
        });
        let expected = StoreError::NotContiguous { session: id.clone(), expected: 4, found: wrong };
        assert_eq!(store.commit(bad).await, Err(expected));
    }
    assert_eq!(store.meta("gap").unwrap(), None);
    // Events that are deleted leave the sequence where the progress says.
    store
        .commit(batch(|b| {
            b.put_progress(id.clone(), progress(3)).delete_events_of(id.clone());
        }))
        .await
        .unwrap();
    assert_eq!(store.runs(&id, 1, 1).unwrap(), []);
    drop(store);
    let store = open(dir.path());
    let unknown = SessionId::new("demo");
    let refused = store
        .commit(batch(|b| {
            b.append(unknown.clone(), run(&unknown, 1, 1));
        }))
        .await;
    assert_eq!(refused, Err(StoreError::UnknownSession { session: unknown }));
    store
        .commit(batch(|b| {
            b.append(id.clone(), run(&id, 4, 2));
        }))
        .await
        .unwrap();
    assert_eq!(store.runs(&id, 1, 1).unwrap(), [run(&id, 4, 2)]);
}

#[tokio::test]
async fn runs_are_whole_and_begin_with_the_one_that_holds_the_event() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (id, other) = (SessionId::new("demo"), SessionId::new("demo"));
    let runs = [run(&id, 1, 5), run(&id, 6, 1), run(&id, 7, 300)];
    store
        .commit(batch(|b| {
            b.put_session(session(&id)).put_session(session(&other)).append(other.clone(), run(&other, 1, 9));
            runs.iter().for_each(|r| {
                b.append(id.clone(), r);
            });
        }))
        .await
        .unwrap();
    for (from, max, expected) in
        [(1, 1, &runs[..1]), (5, 1, &runs[..1]), (6, usize::MAX, &runs[1..]), (0, usize::MAX, &runs)]
    {
        assert_eq!(store.runs(&id, from, max).unwrap(), expected, "from {from}");
    }
    assert_eq!(store.runs(&id, 307, usize::MAX).unwrap(), []);
    assert_eq!(store.runs(&id, u64::MAX, usize::MAX).unwrap(), []);
    let two = runs[0].bytes.len() + runs[1].bytes.len();
    assert_eq!(store.runs(&id, 1, two).unwrap(), runs[..2]);
}

#[tokio::test]
async fn sessions_are_listed_newest_first_over_all_agents() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let ids: Vec<SessionId> = ["zz", "aa", "mm", "aa", "b"].iter().map(|agent| SessionId::new(agent)).collect();
    store
        .commit(batch(|b| {
            ids.iter().for_each(|id| {
                b.put_session(session(id));
            });
        }))
        .await
        .unwrap();
    let listed = |before: Option<&SessionId>, limit| -> Vec<SessionId> {
        store.sessions(before, limit).unwrap().into_iter().map(|s| s.id).collect()
    };
    let newest: Vec<SessionId> = ids.iter().rev().cloned().collect();
    assert_eq!(listed(None, 10), newest);
    assert_eq!(listed(Some(&newest[1]), 2), newest[2..4]);
}

#[tokio::test]
async fn a_value_that_sled_would_never_sync_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let id = SessionId::new("demo");
    let big = SessionRecord { sealed_env: Some(vec![255; 13_000]), ..session(&id) };
    let error = store
        .commit(batch(|b| {
            b.put_session(session(&SessionId::new("demo"))).put_session(big);
        }))
        .await;
    assert!(
        matches!(&error, Err(StoreError::TooLarge { what, size, limit: 16384 })
        if what.contains(id.as_str()) && *size > 16384),
        "{error:?}"
    );
    assert_eq!(store.sessions(None, 10).unwrap(), []);
    let key = "k".repeat(2000);
    assert!(matches!(
        store
            .commit(batch(|b| {
                b.put_meta(key, b"");
            }))
            .await,
        Err(StoreError::TooLarge { .. })
    ));
    // As many of the largest as fit into a leaf stay out of sled's blobs.
    for i in 0..64 {
        store
            .commit(batch(|b| {
                b.put_meta(format!("{i}"), [i; 16383]);
            }))
            .await
            .unwrap();
    }
    assert_eq!(fs::read_dir(dir.path().join("registry/blobs")).unwrap().count(), 0);
    drop(store);
    assert_eq!(open(dir.path()).meta("63").unwrap().as_deref(), Some(&[63; 16383][..]));
}

#[tokio::test]
async fn large_events_and_many_overwrites_survive() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let id = SessionId::new("demo");
    store
        .commit(batch(|b| {
            b.put_session(session(&id));
        }))
        .await
        .unwrap();
    let sizes = [32 * 1024, 1024 * 1024, 300, 5 * 1024 * 1024];
    let big = |seq: u64, size: usize| store_common::sized_run(&id, seq, size);
    for (seq, size) in (1..).zip(sizes) {
        store
            .commit(batch(|b| {
                b.append(id.clone(), big(seq, size));
            }))
            .await
            .unwrap();
    }
    for round in 0..3000 {
        let renamed = (round % 50 == 0).then(|| SessionRecord { model: Some(format!("{round}")), ..session(&id) });
        let change = batch(|b| {
            b.put_progress(id.clone(), progress(round)).put_prompt(id.clone(), prompt(1, PromptState::Pending));
            renamed.into_iter().for_each(|r| {
                b.put_session(r);
            });
        });
        let done = store.submit(change);
        if round % 100 == 0 {
            done.await.unwrap();
        }
    }
    store.close().await.unwrap();
    let store = open(dir.path());
    assert_eq!(store.progress(&id).unwrap(), Some(progress(2999)));
    assert_eq!(store.session(&id).unwrap().unwrap().model.as_deref(), Some("2950"));
    for (seq, size) in (1..).zip(sizes) {
        assert_eq!(store.runs(&id, seq, 1).unwrap(), [big(seq, size)], "event {seq}");
    }
}

#[tokio::test]
async fn a_deleted_session_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (id, kept) = (SessionId::new("demo"), SessionId::new("demo"));
    for id in [&id, &kept] {
        store
            .commit(batch(|b| {
                b.put_session(SessionRecord { task_id: Some("t".to_owned()), ..session(id) });
                b.append(id.clone(), run(id, 1, 1)).put_progress(id.clone(), progress(1));
                b.put_prompt(id.clone(), prompt(1, PromptState::Done)).put_permission(id.clone(), permission("p", 1));
            }))
            .await
            .unwrap();
    }
    // A write of the same group goes with it.
    let last = store.submit(batch(|b| {
        b.append(id.clone(), run(&id, 2, 1));
    }));
    let deleted = store.submit(batch(|b| {
        b.delete_session(id.clone());
    }));
    let late = store.submit(batch(|b| {
        b.append(id.clone(), run(&id, 3, 1));
    }));
    assert_eq!((last.await, deleted.await), (Ok(()), Ok(())));
    assert_eq!(late.await, Err(StoreError::UnknownSession { session: id.clone() }));
    let check = |store: Store| {
        assert_eq!(store.session(&id).unwrap(), None);
        assert_eq!(store.runs(&id, 1, 1).unwrap(), []);
        assert_eq!(store.progress_all().unwrap().len(), 1);
        assert_eq!((store.prompt(&id, 1).unwrap(), store.permission(&id, "p").unwrap()), (None, None));
        assert_eq!(store.sessions_by_task("t").unwrap(), std::slice::from_ref(&kept));
        assert_eq!(store.runs(&kept, 1, 1).unwrap().len(), 1);
    };
    check(store);
    check(open(dir.path()));
}

#[tokio::test]
async fn the_log_has_the_last_word_on_a_session() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (id, bare) = (SessionId::new("demo"), SessionId::new("demo"));
    let mut p = progress(0);
    (p.agent_session_id, p.closed) = (Some("new".to_owned()), Some(time(5)));
    let old = SessionRecord { agent_session_id: Some("old".to_owned()), ..session(&id) };
    store
        .commit(batch(|b| {
            b.put_session(old).put_progress(id.clone(), &p).put_session(session(&bare));
        }))
        .await
        .unwrap();
    drop(store);
    let store = open(dir.path());
    let record = store.session(&id).unwrap().unwrap();
    assert_eq!((record.agent_session_id.as_deref(), record.closed), (Some("new"), Some(time(5))));
    assert_eq!(store.sessions_by_agent_id("new").unwrap(), [id]);
    assert_eq!(store.sessions_by_agent_id("old").unwrap(), []);
    // A session whose making was cut short stays, for the session room to complete.
    assert_eq!(store.session(&bare).unwrap(), Some(session(&bare)));
    assert_eq!(store.progress(&bare).unwrap(), None);
}

#[test]
fn an_empty_batch_is_empty() {
    assert!(Batch::new().is_empty());
    assert!(
        !batch(|b| {
            b.put_meta("a", b"b");
        })
        .is_empty()
    );
}

fn time(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}
