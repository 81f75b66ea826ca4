//! A child process that commits as fast as it can and tells what was acknowledged, and the check that all of it is
//! there.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader, ErrorKind},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    sync::OnceLock,
};

use rustix::{
    fs::{OFlags, fcntl_getfl, fcntl_setfl},
    process::{Pid, Signal, WaitOptions, kill_process, waitpid},
};
use wharf::domain::{PromptState, Run, SessionId, SessionRecord};
use wharf::store::{Options, Store, StoreError};

use super::{batch, progress, prompt, render, session};

const DIR: &str = "WHARF_TEST_STORE_DIR";
const SIZE: &str = "WHARF_TEST_STORE_SIZE";
/// Nothing is written but the records of sessions.
pub(crate) const RECORDS: &str = "WHARF_TEST_STORE_RECORDS";
const WRITERS: usize = 4;
/// Payloads from here on come one in a commit.
const LARGE: usize = 100_000;
/// Between two compactions, in bytes of payload.
const COMPACT: u64 = 2 * 1024 * 1024;
/// And in commits, where they are small.
const COMPACT_COMMITS: u64 = 200;
/// The task of sessions that are made to be deleted again.
const EXTRA: &str = "extra";

/// What the child does; returns at once in a process that is none.
pub(crate) fn child() {
    let (Ok(dir), Ok(size)) = (std::env::var(DIR), std::env::var(SIZE)) else { return };
    let size: usize = size.parse().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    // So that what is written goes through tables soon.
    let options = Options { events_memtable: 256 * 1024, memtable: 64 * 1024, ..Options::default() };
    let store = Store::open(Path::new(&dir), options).unwrap_or_else(|e| panic!("{e}"));
    runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        let task = task(size);
        let known = store.sessions_by_task(&task).unwrap();
        // Half of them go on where others were cut off.
        for id in known.into_iter().rev().take(WRITERS / 2) {
            let last = store.progress(&id).unwrap().map_or(0, |p| p.last_seq);
            tasks.spawn(write(store.clone(), id, last, size));
        }
        while tasks.len() < WRITERS {
            tasks.spawn(write(store.clone(), SessionId::new("demo"), 0, size));
        }
        // They never end but by a failure.
        tasks.join_next().await.unwrap().unwrap();
    });
}

fn task(size: usize) -> String {
    format!("size-{size}")
}

async fn write(store: Store, id: SessionId, mut last: u64, size: usize) {
    let record = |model: u64| SessionRecord {
        task_id: Some(task(size)),
        model: (model > 0).then(|| model.to_string()),
        ..session(&id)
    };
    let mut model = store.session(&id).unwrap().and_then(|r| r.model?.parse().ok()).unwrap_or(0);
    if last == 0 {
        let made = batch(|b| {
            b.put_session(record(0)).put_progress(id.clone(), progress(0));
        });
        store.commit(made).await.unwrap();
        println!("ack {id} 0 0");
    }
    let records = std::env::var_os(RECORDS).is_some();
    let mut extra = None;
    for round in 1_u64.. {
        let count = if size >= LARGE { 1 } else { 1 + round % 3 };
        let next = last + count;
        // Some commits change the record alone, some the log alone, some both.
        let alone = records || round % 10 == 4;
        let renamed = alone || round % 20 == 7;
        let change = batch(|b| {
            if renamed {
                b.put_session(record(model + 1));
            }
            if !alone {
                b.append(id.clone(), events(&id, last + 1, count, size)).put_progress(id.clone(), progress(next));
                b.put_prompt(id.clone(), prompt(next, PromptState::Done));
            }
        });
        store.commit(change).await.unwrap();
        (last, model) = (if alone { last } else { next }, model + u64::from(renamed));
        println!("ack {id} {last} {model}");
        match round % 40 {
            _ if records => {}
            11 => extra = Some(make_extra(&store).await),
            31 => drop_extra(&store, extra.take()).await,
            _ => {}
        }
        let enough = (COMPACT / size.max(1) as u64).clamp(4, COMPACT_COMMITS);
        if !records && round % enough == enough / 2 {
            store.compact().await.unwrap();
            println!("compacted");
        }
    }
}

async fn make_extra(store: &Store) -> SessionId {
    let id = SessionId::new("demo");
    let record = SessionRecord { task_id: Some(EXTRA.to_owned()), ..session(&id) };
    let made = batch(|b| {
        b.put_session(record).append(id.clone(), events(&id, 1, 2, 0)).put_progress(id.clone(), progress(2));
        b.put_prompt(id.clone(), prompt(2, PromptState::Done));
    });
    store.commit(made).await.unwrap();
    println!("ack {id} 2 0");
    id
}

async fn drop_extra(store: &Store, id: Option<SessionId>) {
    let Some(id) = id else { return };
    println!("going {id}");
    let gone = batch(|b| {
        b.delete_session(id.clone());
    });
    store.commit(gone).await.unwrap();
    println!("gone {id}");
}

/// Text that does not compress away, made once.
fn pool() -> &'static str {
    static POOL: OnceLock<String> = OnceLock::new();
    POOL.get_or_init(|| {
        let mut rng = fastrand::Rng::with_seed(7);
        std::iter::repeat_with(|| rng.alphanumeric()).take(1024 * 1024).collect()
    })
}

/// The text of an event: from a place in the pool of its own.
fn text(seq: u64, size: usize) -> String {
    let pool = pool();
    let mut text = format!("line {seq} ");
    let mut at = usize::try_from(seq.wrapping_mul(7919)).unwrap_or(0) % pool.len();
    while text.len() < size {
        let part = (size - text.len()).min(pool.len() - at);
        text.push_str(&pool[at..at + part]);
        at = 0;
    }
    text
}

fn events(id: &SessionId, first_seq: u64, count: u64, size: usize) -> Run {
    let mut bytes = Vec::new();
    (first_seq..first_seq + count).for_each(|seq| render(id, seq, text(seq, size), &mut bytes));
    Run { first_seq, count, bytes: bytes.into() }
}

/// The child and what it says.
pub(crate) struct Writer {
    child: Child,
    out: BufReader<ChildStdout>,
    /// The beginning of a line whose end was not there yet.
    line: String,
}

impl Writer {
    /// Starts `command`, which must come to `child`, on the store at `dir` with payloads of `size` bytes.
    pub(crate) fn start(mut command: Command, dir: &Path, size: usize) -> Self {
        command.env(DIR, dir).env(SIZE, size.to_string()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Self { child, out, line: String::new() }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Stops it, waits until all of its threads stand still, and takes what it said until then.
    pub(crate) fn stop(&mut self, acks: &mut Acks) {
        self.signal(Signal::STOP);
        waitpid(Some(Pid::from_child(&self.child)), WaitOptions::UNTRACED).unwrap();
        self.said(acks);
    }

    /// Takes what it has said so far.
    pub(crate) fn said(&mut self, acks: &mut Acks) {
        let flags = fcntl_getfl(self.out.get_ref()).unwrap();
        fcntl_setfl(self.out.get_ref(), flags | OFlags::NONBLOCK).unwrap();
        while self.next(acks) {}
        fcntl_setfl(self.out.get_ref(), flags).unwrap();
    }

    /// Takes its next acknowledgement; whether there was one.
    pub(crate) fn next(&mut self, acks: &mut Acks) -> bool {
        loop {
            match self.out.read_line(&mut self.line) {
                // The last line may be cut short by the kill.
                Ok(_) if !self.line.ends_with('\n') => return false,
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => return false,
                Err(e) => panic!("{e}"),
            }
            let line = std::mem::take(&mut self.line);
            if acks.note(line.trim_end()) {
                return true;
            }
        }
    }

    /// Takes all that it said until its end.
    pub(crate) fn rest(&mut self, acks: &mut Acks) {
        while self.next(acks) {}
        self.child.wait().unwrap();
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What was acknowledged.
#[derive(Clone, Debug, Default)]
pub(crate) struct Acks {
    /// The last event of each session, and the last change of its record.
    last: BTreeMap<SessionId, (u64, u64)>,
    going: BTreeSet<SessionId>,
    gone: BTreeSet<SessionId>,
    /// How many commits.
    pub(crate) commits: u64,
    /// How many compactions were done.
    pub(crate) compactions: u64,
}

impl Acks {
    fn note(&mut self, line: &str) -> bool {
        let words: Vec<_> = line.split(' ').collect();
        match words[..] {
            ["ack", id, seq, model] => {
                self.last.insert(id.parse().unwrap(), (seq.parse().unwrap(), model.parse().unwrap()));
            }
            ["going", id] => {
                self.going.insert(id.parse().unwrap());
                return false;
            }
            ["gone", id] => {
                let id: SessionId = id.parse().unwrap();
                self.last.remove(&id);
                self.gone.insert(id);
            }
            ["compacted"] => {
                self.compactions += 1;
                return false;
            }
            _ => return false,
        }
        self.commits += 1;
        true
    }
}

/// Compares a store with what was acknowledged and with itself; what is wrong, and how many events were read.
pub(crate) fn check(store: &Store, acks: &Acks) -> Result<(Vec<String>, u64), StoreError> {
    let mut wrong = Vec::new();
    for (id, (seq, model)) in acks.last.iter().filter(|(id, _)| !acks.going.contains(*id)) {
        let there = store.progress(id)?.map(|p| p.last_seq);
        if there.is_none_or(|there| there < *seq) {
            wrong.push(format!("{id}: {seq} was acknowledged, {there:?} is there"));
        }
        let named = store.session(id)?.map(|r| r.model.and_then(|m| m.parse().ok()).unwrap_or(0));
        if named.is_none_or(|named: u64| named < *model) {
            wrong.push(format!("{id}: change {model} of its record was acknowledged, {named:?} is there"));
        }
    }
    for id in &acks.gone {
        let left = (store.session(id)?.is_some(), store.progress(id)?.is_some(), store.runs(id, 0, 1)?.len());
        if left != (false, false, 0) {
            wrong.push(format!("{id}: that it is gone was acknowledged, and yet {left:?}"));
        }
    }
    let mut read = 0;
    for (id, p) in store.progress_all()? {
        read += p.last_seq;
        let size = store.session(&id)?.map(|r| r.task_id.and_then(|t| t.strip_prefix("size-")?.parse().ok()));
        match size {
            Some(size) => wrong.extend(check_log(store, &id, p.last_seq, size.unwrap_or(0))?),
            None => wrong.push(format!("{id} has a log and no record")),
        }
    }
    Ok((wrong, read))
}

/// A log is whole to its end, each event as it was written, and with its last commit's prompt.
fn check_log(store: &Store, id: &SessionId, last: u64, size: usize) -> Result<Option<String>, StoreError> {
    let mut next = 1;
    while next <= last {
        let runs = store.runs(id, next, 4 * 1024 * 1024)?;
        if runs.is_empty() {
            return Ok(Some(format!("{id}: its log ends before {next}, and should at {last}")));
        }
        for run in &runs {
            if run.first_seq != next || run.bytes != events(id, run.first_seq, run.count, size).bytes {
                return Ok(Some(format!("{id}: run {} of {} is not as it was written", run.first_seq, run.count)));
            }
            next += run.count;
        }
    }
    if next != last + 1 || !store.runs(id, next, 1)?.is_empty() {
        return Ok(Some(format!("{id}: its log goes beyond {last}")));
    }
    let prompt = last == 0 || store.prompt(id, last)?.is_some();
    Ok((!prompt).then(|| format!("{id}: prompt {last} is missing")))
}
