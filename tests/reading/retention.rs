//! Rule: what is closed is kept as long as the configuration says; nothing of an open session is ever dropped; the
//! store's disk use shrinks after a purge.

use wharf::domain::{SessionId, SessionRecord, Timestamp};

use super::store_common::{batch, open, progress, session, sized_run};
use super::store_of;
use super::support::{Daemon, so, until};

const MIB: u64 = 1024 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn the_stores_disk_use_shrinks_after_a_purge() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    let (purged, kept) = (SessionId::new("demo"), SessionId::new("demo"));
    for id in [&purged, &kept] {
        let made = batch(|b| {
            b.put_session(session(id)).append(id.clone(), sized_run(id, 1, 1024));
        });
        store.commit(made).await.expect("durable");
    }
    for seq in 2..=160 {
        let more = batch(|b| {
            b.append(purged.clone(), sized_run(&purged, seq, MIB as usize));
        });
        store.commit(more).await.expect("durable");
    }
    let full = store.disk_use();
    assert!(full > 160 * MIB, "{full}");
    let drop = batch(|b| {
        b.delete_session(purged.clone());
    });
    store.commit(drop).await.expect("durable");
    store.compact().await.expect("compacted");
    let left = store.disk_use();
    println!("disk use: {} MiB, after the purge {} MiB", full / MIB, left / MIB);
    // What stays is the journal that is being written, of at most 64 MB.
    assert!(left < 64 * MIB, "{left} of {full}");
    assert!(store.tables_disk_use() < MIB, "{}", store.tables_disk_use());
    assert_eq!(store.runs(&kept, 1, 1).expect("read"), [sized_run(&kept, 1, 1024)]);
    // Nothing of the order is left but what is kept, and all of it is there after a reopening.
    let order = |store: &wharf::store::Store| {
        let all = store.ordered(wharf::store::Place::default(), usize::MAX, |_| Ok(true)).expect("read");
        all.runs.into_iter().map(|run| (run.session, run.run.first_seq)).collect::<Vec<_>>()
    };
    assert_eq!(order(&store), [(kept.clone(), 1)]);
    let next = batch(|b| {
        b.append(kept.clone(), sized_run(&kept, 2, 10));
    });
    store.commit(next).await.expect("durable");
    store.close().await.expect("closed");
    let store = open(dir.path());
    assert_eq!(order(&store), [(kept.clone(), 1), (kept, 2)]);
}

/// Sessions closed at these times (`None`: open), each with a log of this size.
async fn fill(daemon: &Daemon, closed: &[Option<Timestamp>], size: usize) -> Vec<SessionId> {
    let ids: Vec<SessionId> = closed.iter().map(|_| SessionId::new("demo")).collect();
    let store = store_of(daemon);
    for (id, closed) in ids.iter().zip(closed) {
        let mut come = progress(1);
        come.closed = *closed;
        let made = batch(|b| {
            b.put_session(SessionRecord { closed: *closed, ..session(id) });
            b.append(id.clone(), sized_run(id, 1, size)).put_progress(id.clone(), &come);
        });
        store.commit(made).await.expect("durable");
    }
    store.close().await.expect("closed");
    ids
}

/// Which sessions are there, once those that must go have gone; the daemon looks when it starts and by its timer.
async fn left(daemon: &Daemon, goes: &[SessionId]) -> Vec<SessionId> {
    let client = daemon.client();
    until("the end of those that must go", async || {
        let page = client.get("/v1/sessions?closed=true&limit=1000").await.expect(200);
        let ids = page["items"].as_array().expect("a list").iter().rev();
        let left: Vec<SessionId> = ids.map(|s| s["id"].as_str().expect("an id").parse().expect("an id")).collect();
        so(!left.iter().any(|id| goes.contains(id)), &left).map(|()| left)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_session_is_kept_as_long_as_the_configuration_says_and_an_open_one_for_ever() {
    let now = Timestamp::now().as_millis();
    let ago = |minutes: i64| Some(Timestamp::from_millis(now - minutes * 60_000));
    let closed = [ago(6000), None, ago(3), ago(1), None, ago(0)];
    // The clock is believed after a tenth of it.
    let mut daemon = Daemon::prepared(&[], Some("[retention]\nclosed_sessions = \"150s\"\n"));
    let ids = fill(&daemon, &closed, 100).await;
    daemon.spawn();
    daemon.answers().await;
    let kept: Vec<SessionId> = [1, 3, 4, 5].map(|n: usize| ids[n].clone()).into();
    assert_eq!(left(&daemon, &[ids[0].clone(), ids[2].clone()]).await, kept);
    let gone = daemon.client().get(&format!("/v1/sessions/{}/events", ids[0])).await;
    assert_eq!(gone.problem(404), "session_not_found");

    // By the timer too: one that is closed while the daemon runs goes, with its log and its prompts.
    daemon.stop();
    let mut daemon = Daemon::prepared(&[], Some("[retention]\nclosed_sessions = \"1s\"\n"));
    daemon.spawn();
    daemon.answers().await;
    let client = daemon.client();
    let (goes, stays) = (client.demo("keep:goes").await, client.demo("keep:stays").await);
    client.turn(&goes, "echo a").await;
    client.turn(&stays, "echo b").await;
    client.delete(&format!("/v1/sessions/{goes}")).await.expect(200);
    let stays: SessionId = stays.parse().expect("an id");
    assert_eq!(left(&daemon, &[goes.parse().expect("an id")]).await, std::slice::from_ref(&stays));
    assert_eq!(client.turn(stays.as_str(), "echo still here").await.0, "still here");
}

#[tokio::test(flavor = "multi_thread")]
async fn by_default_everything_is_kept_and_by_size_the_oldest_closed_go_first() {
    let at = |n: i64| Some(Timestamp::from_millis(n));
    let closed = [at(30), at(10), None, at(20), at(40)];
    let mut daemon = Daemon::prepared(&[], None);
    let ids = fill(&daemon, &closed, 2 * MIB as usize).await;
    daemon.spawn();
    daemon.answers().await;
    assert_eq!(left(&daemon, &[]).await, ids, "for ever by default, however old");
    daemon.stop();
    daemon.configure("[retention]\nlog_size = \"7MiB\"\n");
    daemon.start_again().await;
    // 10 MiB are there: the two that were closed first go, and no more.
    let kept: Vec<SessionId> = [0, 2, 4].map(|n: usize| ids[n].clone()).into();
    assert_eq!(left(&daemon, &[ids[1].clone(), ids[3].clone()]).await, kept);
    daemon.stop();
    daemon.configure("[retention]\nlog_size = 1\n");
    daemon.start_again().await;
    assert_eq!(left(&daemon, &[ids[0].clone(), ids[4].clone()]).await, [ids[2].clone()], "never an open one");
}
