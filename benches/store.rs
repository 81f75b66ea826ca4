//! The store beside its raw limit, a plain file with fdatasync: durable grouped commits a second, and one alone.

use std::{
    fs::File,
    io::Write,
    path::Path,
    time::{Duration, Instant},
};

use crate::report::Stat;
use tokio::{runtime::Runtime, sync::oneshot, task::JoinSet};
use wharf::{
    domain::{Labels, PermissionPolicy, Run, SessionId, SessionRecord, Timestamp, WorkspaceId},
    store::{Batch, Options, Store},
};

/// What was measured: the store and the plain file in the same run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    /// Durable commits a second of many writers, through the store.
    pub(crate) grouped: f64,
    /// The same, appended to a plain file.
    pub(crate) grouped_raw: f64,
    /// One durable commit with no other under way, through the store, in milliseconds.
    pub(crate) single: Stat,
    /// The same, appended to a plain file.
    pub(crate) single_raw: Stat,
}

/// Measures in a new directory below `dir`: `writers` of records of `bytes` bytes for about `time` each, and `n` alone.
pub(crate) fn measure(dir: &Path, writers: usize, bytes: usize, time: Duration, n: usize) -> std::io::Result<Figures> {
    let runtime = Runtime::new()?;
    let store_dir = dir.join("store");
    let store = Store::open(&store_dir, Options::default()).map_err(std::io::Error::other)?;
    let grouped = runtime.block_on(grouped(&store, writers, bytes, time));
    let single = runtime.block_on(single(&store, bytes, n));
    runtime.block_on(store.close()).map_err(std::io::Error::other)?;
    let (raw, file) = (Raw::start(&dir.join("grouped.raw"))?, File::create(dir.join("single.raw"))?);
    let grouped_raw = runtime.block_on(raw.grouped(writers, bytes, time));
    let single_raw = single_raw(file, bytes, n)?;
    Ok(Figures { grouped, grouped_raw, single, single_raw })
}

/// A session of its own and its log's end.
struct Writer {
    store: Store,
    id: SessionId,
    next: u64,
    bytes: bytes::Bytes,
}

impl Writer {
    async fn new(store: &Store, bytes: usize) -> Self {
        let id = SessionId::new("demo");
        let record = SessionRecord {
            id: id.clone(),
            key: None,
            agent: "demo".to_owned(),
            workspace: WorkspaceId::new(),
            created: Timestamp::now(),
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
            caps: wharf::domain::Caps::default(),
            closed: None,
        };
        let mut batch = Batch::new();
        batch.put_session(record);
        store.commit(batch).await.expect("a session is made");
        Self { store: store.clone(), id, next: 1, bytes: vec![b'x'; bytes].into() }
    }

    async fn commit(&mut self) {
        let mut batch = Batch::new();
        batch.append(self.id.clone(), &Run { first_seq: self.next, count: 1, bytes: self.bytes.clone() });
        self.store.commit(batch).await.expect("a run is written");
        self.next += 1;
    }
}

async fn grouped(store: &Store, writers: usize, bytes: usize, time: Duration) -> f64 {
    let mut ready = Vec::new();
    for _ in 0..writers {
        ready.push(Writer::new(store, bytes).await);
    }
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for mut writer in ready {
        tasks.spawn(async move {
            while start.elapsed() < time {
                writer.commit().await;
            }
            writer.next - 1
        });
    }
    rate(tasks, start).await
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
async fn rate(tasks: JoinSet<u64>, start: Instant) -> f64 {
    let count: u64 = tasks.join_all().await.into_iter().sum();
    count as f64 / start.elapsed().as_secs_f64()
}

async fn single(store: &Store, bytes: usize, n: usize) -> Stat {
    let mut writer = Writer::new(store, bytes).await;
    let mut times = Vec::with_capacity(n);
    for _ in 0..n {
        let start = Instant::now();
        writer.commit().await;
        times.push(start.elapsed());
    }
    Stat::millis(&times)
}

/// A thread that appends what is queued to a plain file and syncs once for all of it.
struct Raw(std::sync::mpsc::Sender<(bytes::Bytes, oneshot::Sender<()>)>);

impl Raw {
    fn start(path: &Path) -> std::io::Result<Self> {
        let mut file = File::create(path)?;
        let (queue, queued) = std::sync::mpsc::channel::<(bytes::Bytes, oneshot::Sender<()>)>();
        std::thread::spawn(move || {
            while let Ok(first) = queued.recv() {
                let group: Vec<_> = std::iter::once(first).chain(queued.try_iter()).collect();
                let bytes: Vec<u8> = group.iter().flat_map(|(bytes, _)| bytes.iter().copied()).collect();
                file.write_all(&bytes).and_then(|()| file.sync_data()).expect("the plain file is written");
                for (_, done) in group {
                    let _ = done.send(());
                }
            }
        });
        Ok(Self(queue))
    }

    async fn grouped(&self, writers: usize, bytes: usize, time: Duration) -> f64 {
        let start = Instant::now();
        let mut tasks = JoinSet::new();
        for _ in 0..writers {
            let (queue, bytes) = (self.0.clone(), bytes::Bytes::from(vec![b'x'; bytes]));
            tasks.spawn(async move {
                let mut count = 0;
                while start.elapsed() < time {
                    let (done, waiter) = oneshot::channel();
                    queue.send((bytes.clone(), done)).expect("the writer lives");
                    waiter.await.expect("the writer answers");
                    count += 1;
                }
                count
            });
        }
        rate(tasks, start).await
    }
}

fn single_raw(mut file: File, bytes: usize, n: usize) -> std::io::Result<Stat> {
    let record = vec![b'x'; bytes];
    let mut times = Vec::with_capacity(n);
    for _ in 0..n {
        let start = Instant::now();
        file.write_all(&record)?;
        file.sync_data()?;
        times.push(start.elapsed());
    }
    Ok(Stat::millis(&times))
}
