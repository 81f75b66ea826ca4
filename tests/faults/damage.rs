//! Damage to the files of a daemon that does not run: a copy is damaged, and a daemon started on it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{
    api::{Api, PATIENCE},
    ledger::{Checked, Ledger},
    mounts::run as program,
    plan::Plan,
};

/// The configuration of an attempt, beside its state directory.
const CONFIG: &str = "wharf.toml";
/// What a refusal may tell the person to do.
const ADVICE: [&str; 9] = [
    "Restore the state directory from a backup",
    "run the newer wharf",
    "run the older wharf",
    "put the right file back",
    "Free space",
    "writable",
    "chmod",
    "remove it",
    "stop that one",
];

/// A daemon that is tried on a state directory; dropped, it is killed.
pub struct Attempt {
    child: Child,
    socket: PathBuf,
    log: PathBuf,
    ended: Option<String>,
}

impl Attempt {
    /// Starts it and waits until it is ready or has ended; its socket and log go to `beside`.
    pub async fn start(state: &Path, beside: &Path) -> Result<Self, String> {
        let (socket, log) = (beside.join("attempt.sock"), beside.join("attempt.log"));
        let out = std::fs::File::create(&log).map_err(|e| e.to_string())?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_wharf"));
        command.arg("daemon").arg("--state-dir").arg(state).arg("--socket").arg(&socket);
        command.arg("--listen").arg("127.0.0.1:0").stdin(Stdio::null());
        let config = beside.join(CONFIG);
        if config.exists() {
            command.arg("--config").arg(config);
        }
        let err = out.try_clone().map_err(|e| e.to_string())?;
        let child = command.stdout(out).stderr(err).spawn().map_err(|e| e.to_string())?;
        let mut attempt = Self { child, socket, log, ended: None };
        let deadline = Instant::now() + PATIENCE;
        while attempt.ended.is_none() && !attempt.said().contains("wharf is ready") {
            if let Some(status) = attempt.child.try_wait().map_err(|e| e.to_string())? {
                attempt.ended = Some(format!("{status}: {}", attempt.said()));
            } else if Instant::now() > deadline {
                return Err(format!("a daemon neither starts nor refuses: {}", attempt.said()));
            } else {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        Ok(attempt)
    }

    fn said(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// What it said when it refused.
    pub fn refused(&self) -> Option<&str> {
        self.ended.as_deref()
    }

    /// All records that it tells: sessions, their prompts and events, workspaces. An error is what it says where it can't
    /// read them.
    async fn records(&self) -> Result<BTreeMap<String, Value>, String> {
        let api = Api::new(&self.socket);
        let mut found = BTreeMap::new();
        for list in ["/v1/sessions?closed=true&limit=100", "/v1/workspaces?limit=100"] {
            let mut items = get(&api, list).await?["items"].take();
            // How a container is, the engine knows, and the daemon once it has asked.
            for item in items.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
                item.remove("status");
            }
            found.insert(list.to_owned(), items);
        }
        let sessions = found.values().next().cloned().unwrap_or_default();
        for session in sessions.as_array().into_iter().flatten() {
            let path = format!("/v1/sessions/{}", session["id"].as_str().unwrap_or_default());
            for part in ["prompts", "events"] {
                let mut after = 0;
                loop {
                    let page = format!("{path}/{part}?after={after}&limit=1000");
                    let items = get(&api, &page).await?["items"].clone();
                    let last = items.as_array().and_then(|items| items.last());
                    let Some(next) = last.and_then(|item| item["seq"].as_u64().or(item["id"].as_u64())) else { break };
                    found.insert(page, items);
                    after = next;
                }
            }
        }
        Ok(found)
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// GET of what must be there; what the daemon can't read it says at once, and asking again is no use.
async fn get(api: &Api, path: &str) -> Result<Value, String> {
    match api.try_call("GET", path, None, None).await {
        Some((503, problem)) if problem["code"] == "store_failed" => Err(problem["detail"].to_string()),
        _ => api.get(path).await,
    }
}

type Files = BTreeMap<PathBuf, Vec<u8>>;

/// All files of a state directory but locks and what others put there.
pub fn files(dir: &Path) -> Result<Files, String> {
    let mut found = Files::new();
    for entry in std::fs::read_dir(dir).map_err(|e| format!("{}: {e}", dir.display()))? {
        let path = entry.map_err(|e| e.to_string())?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else if path.is_file() && !path.ends_with("lock") && !path.ends_with("filler") {
            let bytes = std::fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
            found.insert(path, bytes);
        }
    }
    Ok(found)
}

/// The files that are not the same.
pub fn changed(before: &Files, after: &Files) -> Vec<PathBuf> {
    let all = before.keys().chain(after.keys().filter(|path| !before.contains_key(*path)));
    all.filter(|path| before.get(*path) != after.get(*path)).cloned().collect()
}

/// What is wrong with the words of a daemon that refuses to start.
pub fn bad_refusal(said: &str, state: &Path) -> Vec<&'static str> {
    let mut wrong = bad_words(said, state);
    if !said.starts_with("exit status: 1:") {
        wrong.push("it did not end by itself, with 1");
    }
    wrong
}

/// What is missing in what is said of something that can't be read.
fn bad_words(said: &str, state: &Path) -> Vec<&'static str> {
    let mut wrong = Vec::new();
    if !said.contains(&*state.to_string_lossy()) {
        wrong.push("it names no file");
    }
    if !ADVICE.iter().any(|advice| said.contains(advice)) {
        wrong.push("it does not say what to do");
    }
    wrong
}

/// What is done to a file.
#[derive(Debug)]
enum Damage {
    Flipped { at: usize, bit: u8 },
    CutTo(usize),
    Gone,
    Newer,
}

impl Damage {
    fn any(rng: &mut fastrand::Rng, path: &Path, bytes: &[u8]) -> Self {
        if path.ends_with("store.json") && rng.bool() {
            return Self::Newer;
        }
        // Files are made longer than what is in them; most damage is to hit something.
        let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let end = if rng.u8(..8) == 0 { bytes.len() } else { end };
        match rng.u8(..8) {
            0 => Self::Gone,
            1 | 2 => Self::CutTo(rng.usize(..end.max(1))),
            _ => Self::Flipped { at: rng.usize(..end.max(1)), bit: rng.u8(..8) },
        }
    }

    fn apply(&self, path: &Path, bytes: &[u8]) -> Result<(), String> {
        let mut damaged = bytes.to_vec();
        match *self {
            Self::Flipped { at, bit } => {
                if let Some(byte) = damaged.get_mut(at) {
                    *byte ^= 1 << bit;
                }
            }
            Self::CutTo(len) => damaged.truncate(len),
            Self::Gone => return std::fs::remove_file(path).map_err(|e| e.to_string()),
            Self::Newer => {
                let text = String::from_utf8_lossy(bytes).replace("\"format\": ", "\"format\": 9");
                damaged = text.into_bytes();
            }
        }
        std::fs::write(path, damaged).map_err(|e| e.to_string())
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Flipped { .. } => "bit of the store flipped",
            Self::CutTo(_) => "file of the store cut short",
            Self::Gone => "file of the store removed",
            Self::Newer => "store of a newer version",
        }
    }
}

/// Damages one file after another, in copies of the state at `state`, of a daemon that does not run.
pub async fn rounds(plan: &Plan, state: &Path, rng: &mut fastrand::Rng, ledger: &mut Ledger) -> Result<(), String> {
    let dir = tempfile::Builder::new().prefix("wharf-test-").tempdir().map_err(|e| e.to_string())?;
    let copy = dir.path().join("state");
    let fresh = || {
        let _ = std::fs::remove_dir_all(&copy);
        program("cp", &["-a", "--sparse=always", &state.to_string_lossy(), &copy.to_string_lossy()]).map(drop)
    };
    fresh()?;
    std::fs::copy(state.with_file_name(CONFIG), dir.path().join(CONFIG)).map_err(|e| e.to_string())?;
    let whole = Attempt::start(&copy, dir.path()).await?;
    let right = match whole.refused() {
        None => whole.records().await?,
        Some(why) => return Err(format!("the undamaged state is refused: {why}")),
    };
    drop(whole);
    let events: usize = right.values().filter_map(Value::as_array).map(Vec::len).sum();
    let (mut refused, mut read, mut unharmed, mut caught) = (0, 0, 0, 0);
    for round in 0..plan.rounds {
        fresh()?;
        let all: Vec<_> = files(&copy)?.into_iter().collect();
        let pick = all.iter().position(|(path, _)| round == 0 && path.ends_with("store.json"));
        let (path, bytes) = &all[pick.unwrap_or_else(|| rng.usize(..all.len()))];
        let damage = if round == 0 { Damage::Newer } else { Damage::any(rng, path, bytes) };
        damage.apply(path, bytes)?;
        ledger.fault(damage.kind());
        let told =
            format!("{damage:?} of {} bytes in {}", bytes.len(), path.strip_prefix(&copy).unwrap_or(path).display());
        let before = files(&copy)?;
        match outcome(&copy, dir.path(), &right, &before, path).await {
            Ok(Outcome::Whole) => unharmed += 1,
            Ok(Outcome::ToldAtReading) => read += 1,
            Ok(Outcome::Refused(said)) => {
                refused += 1;
                caught += u64::from(said.contains("panicked"));
            }
            Err(wrong) => ledger.violated(10, format!("{told}: {wrong}")),
        }
        ledger.checked(&[10], Checked { faults: 1, prompts: 0, events: events as u64 });
    }
    ledger.remark(format!(
        "{} damaged stores: {refused} refused in words and left as they were ({caught} after a panic of sled or fjall that \
         was caught), {read} with a damaged part that is told in words when it is read, {unharmed} with all records",
        plan.rounds
    ));
    Ok(())
}

/// What became of a daemon on a damaged state.
enum Outcome {
    /// It works, with all records.
    Whole,
    /// It works, and where it comes to the damage it says so instead of telling what is not there.
    ToldAtReading,
    /// It did not start, for this reason.
    Refused(String),
}

async fn outcome(
    copy: &Path,
    beside: &Path,
    right: &BTreeMap<String, Value>,
    before: &Files,
    damaged: &Path,
) -> Result<Outcome, String> {
    let attempt = Attempt::start(copy, beside).await?;
    let Some(said) = attempt.refused() else {
        return match attempt.records().await {
            Ok(found) => match right.iter().find(|(path, value)| found.get(*path) != Some(value)) {
                None => Ok(Outcome::Whole),
                Some((path, value)) => Err(format!("{path} was {value} and is {:?}", found.get(path))),
            },
            Err(said) => {
                let mut wrong = bad_words(&said, copy);
                if std::fs::read(damaged).ok().as_ref() != before.get(damaged) {
                    wrong.push("what is damaged was changed");
                }
                if wrong.is_empty() { Ok(Outcome::ToldAtReading) } else { Err(format!("{}: {said}", wrong.join(", "))) }
            }
        };
    };
    let wrong = bad_refusal(said, copy);
    if !wrong.is_empty() {
        return Err(format!("{}: {said}", wrong.join(", ")));
    }
    let changed = changed(before, &files(copy)?);
    if changed.is_empty() {
        Ok(Outcome::Refused(said.to_owned()))
    } else {
        Err(format!("refused ({said}), but changed {changed:?}"))
    }
}
