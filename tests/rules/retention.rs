//! How long what is closed is kept, on a clock of the test's own; nothing of an open session is ever dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use wharf::domain::{SessionId, SessionRecord, Timestamp};
use wharf::session::Retention;

use super::store_common::{batch, progress, session, sized_run};
use super::support::PATIENCE;
use super::world::World;

const MIB: usize = 1 << 20;
const DAY: i64 = 86_400_000;

/// The daemon's keeper of the rules, which looks when it is told.
struct Keeper {
    now: Arc<AtomicI64>,
    go: Arc<Semaphore>,
    looked: mpsc::UnboundedReceiver<Duration>,
}

impl Keeper {
    fn of(world: &World, retention: Retention) -> Self {
        let (now, go) = (Arc::new(AtomicI64::new(0)), Arc::new(Semaphore::new(0)));
        let (tell, looked) = mpsc::unbounded_channel();
        let (clock, ticks) = (now.clone(), go.clone());
        let tick = move |period| {
            let ticks = ticks.clone();
            // The test may have seen enough.
            let _ = tell.send(period);
            async move {
                if let Ok(tick) = ticks.acquire_owned().await {
                    tick.forget();
                }
            }
        };
        let clock = move || Timestamp::from_millis(clock.load(Ordering::SeqCst));
        world.tracker.spawn(world.sessions.clone().keep(retention, clock, tick));
        Self { now, go, looked }
    }

    /// Waits until it has done what there is to do.
    async fn done(&mut self) {
        let looked = tokio::time::timeout(PATIENCE, self.looked.recv()).await.expect("it looks in time");
        assert!(looked.expect("it goes on") <= Duration::from_secs(600), "it looks often enough");
    }

    /// The day comes as days do: both clocks go evenly, for only then the one that may step is believed.
    async fn at(&mut self, world: &World, days: i64) {
        let passed = days * DAY - self.now.swap(days * DAY, Ordering::SeqCst);
        world.pass(Duration::from_millis(passed.unsigned_abs()));
        self.go.add_permits(1);
        self.done().await;
    }
}

/// A session that was closed on that day, or is open, with a log of several runs.
async fn made(world: &World, closed: Option<i64>, runs: u64) -> SessionId {
    let id = SessionId::new("demo");
    let closed = closed.map(|day| Timestamp::from_millis(day * DAY));
    let mut come = progress(runs);
    come.closed = closed;
    let first = batch(|b| {
        b.put_session(SessionRecord { closed, ..session(&id) });
    });
    world.store.commit(first).await.expect("durable");
    for seq in 1..=runs {
        let more = batch(|b| {
            b.append(id.clone(), sized_run(&id, seq, MIB));
        });
        world.store.commit(more).await.expect("durable");
    }
    let last = batch(|b| {
        b.put_progress(id.clone(), &come);
    });
    world.store.commit(last).await.expect("durable");
    id
}

fn is_there(world: &World, id: &SessionId) -> bool {
    world.store.session(id).expect("read").is_some()
}

fn runs(world: &World, id: &SessionId) -> usize {
    world.store.runs(id, 1, usize::MAX).expect("read").len()
}

#[tokio::test(flavor = "multi_thread")]
async fn by_age_a_closed_session_goes_on_its_day_and_an_open_one_never() {
    let world = World::new();
    let (early, late, open) =
        (made(&world, Some(0), 2).await, made(&world, Some(10), 2).await, made(&world, None, 3).await);
    let week = Retention { closed_sessions: Some(Duration::from_millis(7 * DAY as u64)), log_size: None };
    let mut keeper = Keeper::of(&world, week);
    keeper.done().await;
    keeper.at(&world, 6).await;
    assert!(is_there(&world, &early) && is_there(&world, &late));
    keeper.at(&world, 7).await;
    assert!(!is_there(&world, &early) && is_there(&world, &late));
    assert_eq!(runs(&world, &early), 0, "its log is gone with it");
    keeper.at(&world, 17).await;
    assert!(!is_there(&world, &late));
    keeper.at(&world, 100_000).await;
    assert_eq!((is_there(&world, &open), runs(&world, &open)), (true, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn by_size_the_oldest_closed_go_first_never_an_open_one_and_the_disk_use_shrinks() {
    let world = World::new();
    let (second, first, third) =
        (made(&world, Some(2), 30).await, made(&world, Some(1), 30).await, made(&world, Some(3), 30).await);
    let open = made(&world, None, 30).await;
    let before = world.sessions.disk_use().await.expect("told");
    assert!(before > 120 * MIB as u64, "{before}");
    let small = Retention { closed_sessions: None, log_size: Some(70 * MIB as u64) };
    let mut keeper = Keeper::of(&world, small);
    keeper.done().await;
    let left: Vec<bool> = [&first, &second, &third, &open].into_iter().map(|id| is_there(&world, id)).collect();
    assert_eq!(left, [false, false, true, true]);
    let after = world.sessions.disk_use().await.expect("told");
    assert!(after < before - 50 * MIB as u64, "{after} of {before}");
    // What can't be is not done at an open session's cost.
    let none = Retention { closed_sessions: Some(Duration::ZERO), log_size: Some(1) };
    let mut keeper = Keeper::of(&world, none);
    keeper.now.store(1000 * DAY, Ordering::SeqCst);
    keeper.done().await;
    keeper.at(&world, 1000).await;
    assert_eq!((is_there(&world, &third), is_there(&world, &open), runs(&world, &open)), (false, true, 30));
}
