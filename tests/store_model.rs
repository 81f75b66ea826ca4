//! Any sequence of batches, with the store closed and opened anywhere in between, equals a model in memory.

mod store_common;

use std::{collections::BTreeMap, path::Path};

use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{RngAlgorithm, TestRng, TestRunner},
};
use store_common::{batch, open, progress, prompt, run, session, workspace};
use wharf::domain::{PromptState, SessionId, SessionKey, SessionRecord, WorkspaceId, WorkspaceRecord};
use wharf::store::{Batch, Commit, Store, StoreError};

/// One step; sessions, workspaces, names and tasks are picked from a few, so that they collide.
#[derive(Clone, Debug)]
enum Step {
    Workspace { ws: usize, name: Option<u8> },
    DropWorkspace { ws: usize },
    Session { s: usize, ws: usize, key: Option<u8>, task: Option<u8>, agent: Option<u8> },
    DropSession { s: usize },
    Append { s: usize, count: u64, gap: u64 },
    Prompt { s: usize, n: u64, done: bool },
    DropEvents { s: usize },
    Reopen,
}

const SESSIONS: usize = 4;
const WORKSPACES: usize = 3;

fn step() -> impl Strategy<Value = Step> {
    let (s, ws) = (0..SESSIONS, 0..WORKSPACES);
    let name = || proptest::option::of(0..3_u8);
    prop_oneof![
        2 => (ws.clone(), name()).prop_map(|(ws, name)| Step::Workspace { ws, name }),
        1 => ws.clone().prop_map(|ws| Step::DropWorkspace { ws }),
        4 => (s.clone(), ws, name(), name(), name())
            .prop_map(|(s, ws, key, task, agent)| Step::Session { s, ws, key, task, agent }),
        1 => s.clone().prop_map(|s| Step::DropSession { s }),
        8 => (s.clone(), 1..4_u64, prop_oneof![9 => Just(0_u64), 1 => Just(1)])
            .prop_map(|(s, count, gap)| Step::Append { s, count, gap }),
        3 => (s.clone(), 1..5_u64, any::<bool>()).prop_map(|(s, n, done)| Step::Prompt { s, n, done }),
        1 => s.prop_map(|s| Step::DropEvents { s }),
        1 => Just(Step::Reopen),
    ]
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Log {
    runs: Vec<(u64, u64)>,
    last_seq: u64,
    prompts: BTreeMap<u64, bool>,
}

/// Workspace, key, task, agent session id.
type Record = (usize, Option<u8>, Option<u8>, Option<u8>);

#[derive(Clone, Debug, Default)]
struct Model {
    workspaces: BTreeMap<usize, Option<u8>>,
    sessions: BTreeMap<usize, Record>,
    logs: BTreeMap<usize, Log>,
}

struct Ids {
    sessions: Vec<SessionId>,
    workspaces: Vec<WorkspaceId>,
}

impl Ids {
    fn record(&self, s: usize, ws: usize, key: Option<u8>, task: Option<u8>, agent: Option<u8>) -> SessionRecord {
        SessionRecord {
            key: key.map(key_of),
            workspace: self.workspaces[ws].clone(),
            task_id: task.map(|t| format!("task-{t}")),
            agent_session_id: agent.map(|a| format!("agent-{a}")),
            ..session(&self.sessions[s])
        }
    }
}

/// In memory, where there is such a place: a crash of the process needs no disk, and syncs are quick without one.
fn dir() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

fn key_of(n: u8) -> SessionKey {
    format!("app:{n}").parse().unwrap()
}

/// What a store says that its model does not.
#[derive(Debug)]
#[expect(dead_code, reason = "it is read in the message of a failed test")]
struct Differs(String);

impl From<StoreError> for Differs {
    fn from(e: StoreError) -> Self {
        Self(e.to_string())
    }
}

fn same<T: PartialEq + std::fmt::Debug>(found: &T, expected: &T) -> Result<(), Differs> {
    if found == expected { Ok(()) } else { Err(Differs(format!("{found:?} is there instead of {expected:?}"))) }
}

impl Model {
    /// Applies a step and puts it into the batch; `false`: the store must refuse the batch.
    fn step(&mut self, ids: &Ids, step: &Step, b: &mut Batch) -> bool {
        match *step {
            Step::Workspace { ws, name } => {
                let record = WorkspaceRecord { name: name.map(|n| format!("w{n}")), ..workspace(&ids.workspaces[ws]) };
                b.put_workspace(record);
                let taken = name.is_some() && self.workspaces.iter().any(|(w, n)| *w != ws && *n == name);
                self.workspaces.insert(ws, name);
                !taken
            }
            Step::DropWorkspace { ws } => {
                b.delete_workspace(ids.workspaces[ws].clone());
                self.workspaces.remove(&ws);
                true
            }
            Step::Session { s, ws, key, task, agent } => {
                b.put_session(ids.record(s, ws, key, task, agent));
                let taken = key.is_some() && self.sessions.iter().any(|(o, r)| *o != s && r.1 == key);
                self.sessions.insert(s, (ws, key, task, agent));
                !taken
            }
            Step::DropSession { s } => {
                b.delete_session(ids.sessions[s].clone());
                self.sessions.remove(&s);
                self.logs.remove(&s);
                true
            }
            Step::Append { s, count, gap } => {
                let agent = self.sessions.get(&s).and_then(|r| r.3);
                let log = self.logs.entry(s).or_default();
                let first = log.last_seq + 1 + gap;
                let mut p = progress(first + count - 1);
                p.agent_session_id = agent.map(|a| format!("agent-{a}"));
                let id = &ids.sessions[s];
                b.append(id.clone(), run(id, first, count)).put_progress(id.clone(), &p);
                log.runs.push((first, count));
                log.last_seq = first + count - 1;
                gap == 0 && self.sessions.contains_key(&s)
            }
            Step::Prompt { s, n, done } => {
                let state = if done { PromptState::Done } else { PromptState::Pending };
                b.put_prompt(ids.sessions[s].clone(), prompt(n, state));
                self.logs.entry(s).or_default().prompts.insert(n, done);
                self.sessions.contains_key(&s)
            }
            Step::DropEvents { s } => {
                b.delete_events_of(ids.sessions[s].clone());
                self.logs.entry(s).or_default().runs.clear();
                true
            }
            Step::Reopen => true,
        }
    }

    fn check(&self, ids: &Ids, store: &Store) -> Result<(), Differs> {
        for (ws, id) in ids.workspaces.iter().enumerate() {
            let found = store.workspace(id)?.map(|w| w.name);
            same(&found, &self.workspaces.get(&ws).map(|n| n.map(|n| format!("w{n}"))))?;
            let of: Vec<_> =
                self.sessions.iter().filter(|(_, r)| r.0 == ws).map(|(s, _)| ids.sessions[*s].clone()).collect();
            same(&store.sessions_of_workspace(id)?, &of)?;
        }
        for n in 0..3 {
            let owner =
                self.workspaces.iter().find(|(_, name)| **name == Some(n)).map(|(w, _)| ids.workspaces[*w].clone());
            same(&store.workspace_by_name(&format!("w{n}"))?, &owner)?;
            let owner = self.sessions.iter().find(|(_, r)| r.1 == Some(n)).map(|(s, _)| ids.sessions[*s].clone());
            same(&store.session_by_key(&key_of(n))?, &owner)?;
            let with = |pick: fn(&Record) -> Option<u8>| -> Vec<SessionId> {
                self.sessions
                    .iter()
                    .filter(|(_, r)| pick(r) == Some(n))
                    .map(|(s, _)| ids.sessions[*s].clone())
                    .collect()
            };
            same(&store.sessions_by_task(&format!("task-{n}"))?, &with(|r| r.2))?;
            same(&store.sessions_by_agent_id(&format!("agent-{n}"))?, &with(|r| r.3))?;
        }
        let newest: Vec<_> = self
            .sessions
            .iter()
            .rev()
            .map(|(s, (ws, key, task, agent))| ids.record(*s, *ws, *key, *task, *agent))
            .collect();
        same(&store.sessions(None, 100)?, &newest)?;
        for (s, id) in ids.sessions.iter().enumerate() {
            let log = self.logs.get(&s).filter(|_| self.sessions.contains_key(&s)).cloned().unwrap_or_default();
            let runs: Vec<_> = log.runs.iter().map(|(first, count)| run(id, *first, *count)).collect();
            same(&store.runs(id, 0, usize::MAX)?, &runs)?;
            same(&store.progress(id)?.map_or(0, |p| p.last_seq), &log.last_seq)?;
            let prompts: Vec<_> =
                store.prompts(id, 0, 100)?.iter().map(|p| (p.id, p.state == PromptState::Done)).collect();
            same(&prompts, &log.prompts.into_iter().collect::<Vec<_>>())?;
        }
        Ok(())
    }
}

/// Where the record and the progress of a session differ, opening changes the record: the log has the last word.
fn after_reopening(model: &mut Model, store: &Store, ids: &Ids) {
    for (s, record) in &mut model.sessions {
        if let Some(p) = store.progress(&ids.sessions[*s]).unwrap() {
            record.3 = p.agent_session_id.and_then(|a| a.strip_prefix("agent-")?.parse().ok());
        }
    }
}

/// How many sequences; `PROPTEST_CASES` asks for more.
fn cases() -> u32 {
    if std::env::var_os("PROPTEST_CASES").is_some() { ProptestConfig::default().cases } else { 12 }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), max_shrink_iters: 200, ..ProptestConfig::default() })]
    #[test]
    fn the_store_equals_the_model(batches in proptest::collection::vec(proptest::collection::vec(step(), 1..4), 1..40)) {
        let dir = dir();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let ids = Ids::new();
        let (mut store, mut model) = (open(dir.path()), Model::default());
        let mut waiting: Vec<(Commit, bool)> = Vec::new();
        for steps in &batches {
            let mut next = model.clone();
            let mut taken = true;
            let b = batch(|b| steps.iter().for_each(|step| taken &= next.step(&ids, step, b)));
            waiting.push((store.submit(b), taken));
            if taken {
                model = next;
            }
            if steps.iter().any(|s| matches!(s, Step::Reopen)) {
                for (commit, taken) in waiting.drain(..) {
                    prop_assert_eq!(runtime.block_on(commit).is_ok(), taken);
                }
                model.check(&ids, &store).unwrap();
                drop(store);
                store = open(dir.path());
                after_reopening(&mut model, &store, &ids);
                model.check(&ids, &store).unwrap();
            }
        }
        for (commit, taken) in waiting {
            prop_assert_eq!(runtime.block_on(commit).is_ok(), taken);
        }
        model.check(&ids, &store).unwrap();
    }
}

const DIR: &str = "WHARF_TEST_MODEL_DIR";
const IDS: &str = "WHARF_TEST_MODEL_IDS";
const SEED: &str = "WHARF_TEST_MODEL_SEED";
/// The named points of the writer, between which a group is half on the disk.
fn points() -> Vec<&'static str> {
    let of_the_writer = |name: &&str| ["group-", "registry-", "log-"].iter().any(|part| name.starts_with(part));
    wharf::crash::POINTS.into_iter().filter(of_the_writer).collect()
}

impl Ids {
    fn new() -> Self {
        Self {
            sessions: (0..SESSIONS).map(|_| SessionId::new("demo")).collect(),
            workspaces: (0..WORKSPACES).map(|_| WorkspaceId::new()).collect(),
        }
    }

    fn told(&self) -> String {
        let all = self.sessions.iter().map(ToString::to_string).chain(self.workspaces.iter().map(ToString::to_string));
        all.collect::<Vec<_>>().join(" ")
    }

    fn of(told: &str) -> Self {
        let mut words = told.split(' ');
        Self {
            sessions: words.by_ref().take(SESSIONS).map(|id| id.parse().unwrap()).collect(),
            workspaces: words.map(|id| id.parse().unwrap()).collect(),
        }
    }
}

/// The batches of a seed.
fn sequence(seed: u64) -> Vec<Vec<Step>> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(ProptestConfig::default(), rng);
    let batches = proptest::collection::vec(proptest::collection::vec(step(), 1..4), 40..41);
    let mut batches = batches.new_tree(&mut runner).unwrap().current();
    // Many that change both parts, so that a crash between them has something to leave half done.
    for (n, steps) in batches.iter_mut().enumerate().filter(|(n, _)| n % 2 == 0) {
        let s = n % SESSIONS;
        steps.insert(0, Step::Session { s, ws: 0, key: None, task: Some((n % 3) as u8), agent: None });
        steps.push(Step::Append { s, count: 1, gap: 0 });
    }
    batches
}

/// The models after each batch, from the empty one on; each with its batch and whether it must be taken.
fn models(ids: &Ids, seed: u64) -> Vec<(Model, Option<(Batch, bool)>)> {
    let mut all = vec![(Model::default(), None)];
    for steps in sequence(seed) {
        let before = all.last().map(|(model, _)| model.clone()).unwrap_or_default();
        let (mut next, mut taken) = (before.clone(), true);
        let b = batch(|b| steps.iter().for_each(|step| taken &= next.step(ids, step, b)));
        all.push((if taken { next } else { before }, Some((b, taken))));
    }
    all
}

/// The most batches that are under way at once.
const AT_ONCE: usize = 4;

/// The child: commits a few batches at a time, which are one group or several, and says of each that it was answered.
#[test]
fn child() {
    let (Ok(dir), Ok(told), Ok(seed)) = (std::env::var(DIR), std::env::var(IDS), std::env::var(SEED)) else { return };
    let (ids, seed) = (Ids::of(&told), seed.parse().unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let store = open(Path::new(&dir));
    let mut batches = models(&ids, seed).into_iter().filter_map(|(_, batch)| batch);
    let mut rng = fastrand::Rng::with_seed(seed);
    loop {
        let submit = |(b, taken)| (store.submit(b), taken);
        let under_way: Vec<_> = batches.by_ref().take(rng.usize(1..=AT_ONCE)).map(submit).collect();
        if under_way.is_empty() {
            return;
        }
        for (commit, taken) in under_way {
            let answer = runtime.block_on(commit);
            assert_eq!(answer.is_ok(), taken, "{answer:?}");
            println!("answered");
        }
    }
}

/// The registry of the one and the log of the other: what a crash between the two may leave of one group.
fn mixed(registry: &Model, log: &Model) -> Model {
    Model { logs: log.logs.clone(), ..registry.clone() }
}

#[test]
fn a_crash_at_any_point_of_a_group_leaves_what_was_answered_and_at_most_what_was_under_way() {
    let (points, mut crashed, mut halves) = (points(), BTreeMap::<&str, usize>::new(), 0);
    for case in 0..u64::from(cases().div_ceil(6)) * points.len() as u64 {
        let mut rng = fastrand::Rng::with_seed(case);
        let ids = Ids::new();
        let dir = dir();
        let name = points[usize::try_from(case).unwrap() % points.len()];
        // Early enough that each is passed so often, however many batches make a group.
        let point = format!("{name}:{}", rng.u64(1..6));
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture"])
            .env(wharf::crash::VARIABLE, &point)
            .env(DIR, dir.path())
            .env(IDS, ids.told())
            .env(SEED, case.to_string())
            .output()
            .unwrap();
        let died = std::os::unix::process::ExitStatusExt::signal(&output.status) == Some(9);
        *crashed.entry(name).or_default() += usize::from(died);
        let answered =
            String::from_utf8_lossy(&output.stdout).lines().filter(|line| line.ends_with("answered")).count();
        let models = models(&ids, case);
        // How far the registry may be, and how far the log: first those that are whole.
        let left = answered..(answered + AT_ONCE + 1).min(models.len());
        let mut states: Vec<_> = left.clone().flat_map(|one| left.clone().map(move |other| (one, other))).collect();
        states.sort_by_key(|(registry, log)| registry != log);
        // Twice: what the first opening completes, it completes for good.
        for opening in 0..2 {
            let store = open(dir.path());
            let mut differs = Vec::new();
            let found = states.iter().find(|(registry, log)| {
                let mut model = mixed(&models[*registry].0, &models[*log].0);
                after_reopening(&mut model, &store, &ids);
                model.check(&ids, &store).map_err(|e| differs.push(e)).is_ok()
            });
            assert!(found.is_some(), "case {case}, {point}, {answered} answered, opening {opening}: {differs:#?}");
            halves += u64::from(opening == 0 && found.is_some_and(|(registry, log)| registry != log));
        }
    }
    assert!(halves > 0 && crashed.len() == points.len(), "{crashed:?}, {halves} between registry and log");
    assert!(crashed.values().all(|n| *n > 0), "a point was never passed: {crashed:?}");
}
