//! Faults of the clock: it steps by hours, forward and back, under a daemon at work and between two daemons. Only the
//! daemon's clock does: the machine's is not the tests'.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};

use super::{
    api::{Api, until},
    books::Cost,
    driven::Load,
    ledger::{Checked, Ledger},
    plan::Plan,
    support::{Client, Daemon},
    world::{Storm, World},
};

const CALM: Duration = Duration::from_millis(700);
const BETWEEN_CHECKS: u64 = 6;
const HOUR: i64 = 3600;
/// The furthest step.
const FURTHEST: i64 = 72 * HOUR;

/// Runs the part.
pub async fn run(plan: &Plan, ledger: &mut Ledger) -> Result<(), String> {
    let library = library()?;
    let load = Load { burst: plan.burst, cancels: false };
    let clock = Clock::make(&library)?;
    let mut daemon = Daemon::prepared(&[], Some("idle_timeout = \"off\"\n"));
    clock.give(&mut daemon);
    daemon.start_again().await;
    let mut world = World::around(plan.seed ^ 7, daemon, None, load).await?;
    let mut made = Vec::new();
    let mut done = 0;
    while done < plan.rounds {
        let many = BETWEEN_CHECKS.min(plan.rounds - done);
        let mut failed = Ok(());
        world
            .storm(ledger, async |storm| {
                for _ in 0..many {
                    storm.blow(CALM).await;
                    if failed.is_ok() {
                        failed = one(storm, &clock, &mut made).await;
                    }
                }
            })
            .await;
        failed?;
        world.check(Cost::Nothing, ledger).await;
        listed(&world, &made, ledger).await;
        done += many;
    }
    for id in &made {
        world.api.call("DELETE", &format!("/v1/sessions/{id}?purge=true"), None, None).await?;
    }
    clock.set(0)?;
    world.end(ledger).await;
    rules(&library, ledger).await
}

/// One step of the clock, perhaps over a restart, and a session that is made at the time that it tells.
async fn one(storm: &mut Storm<'_>, clock: &Clock, made: &mut Vec<String>) -> Result<(), String> {
    let offset = storm.rng.i64(-FURTHEST..=FURTHEST);
    match storm.rng.u8(..3) {
        0 => {
            storm.fault("clock stepped over a restart");
            storm.daemon.kill();
            clock.set(offset)?;
            storm.daemon.start_again().await;
        }
        _ => {
            storm.fault(if offset > 0 { "clock stepped forward" } else { "clock stepped back" });
            clock.set(offset)?;
        }
    }
    let body = json!({ "agent": "demo", "workspace": "shared", "key": format!("clock:{}", made.len()) });
    match storm.api.call("POST", "/v1/sessions", Some(&body), None).await? {
        (200 | 201, session) => made.push(session["id"].as_str().unwrap_or_default().to_owned()),
        other => return Err(format!("no session: {other:?}")),
    }
    // Whoever may come in is not decided by a clock.
    let tcp = Client::tcp(&storm.daemon.tcp(), Some(&storm.daemon.token()));
    match tcp.try_get("/v1/stats").await {
        Ok(answer) if answer.status == 200 => {}
        other => storm.ledger.violated(12, format!("after a step of the clock a token is answered with {other:?}")),
    }
    Ok(())
}

/// Ids made in the future and in the past: each is there once, in one order, however the list is cut into pages.
async fn listed(world: &World, made: &[String], ledger: &mut Ledger) {
    let (api, all) = (&world.api, made.iter().chain(world.sessions.iter().map(|session| &session.id)));
    let wanted: BTreeSet<String> = all.cloned().collect();
    if wanted.len() != made.len() + world.sessions.len() {
        ledger.violated(7, format!("an id was given twice: {made:?}"));
    }
    for limit in [1, 2, 1000] {
        match pages(api, limit).await {
            Ok(ids) if ids.iter().cloned().collect::<BTreeSet<_>>() != wanted || ids.len() != wanted.len() => {
                ledger.violated(7, format!("pages of {limit} give {ids:?}, and there are {wanted:?}"));
            }
            Ok(ids) if !ids.is_sorted_by(|a, b| a > b) => {
                ledger.violated(7, format!("pages of {limit} are not in order: {ids:?}"));
            }
            Ok(_) => {}
            Err(why) => ledger.violated(7, why),
        }
    }
    ledger.checked(&[7], Checked { events: 3 * wanted.len() as u64, ..Checked::default() });
}

async fn pages(api: &Api, limit: usize) -> Result<Vec<String>, String> {
    let (mut ids, mut after) = (Vec::new(), String::new());
    loop {
        let page = api.get(&format!("/v1/sessions?limit={limit}{after}")).await?;
        let items = page["items"].as_array().cloned().unwrap_or_default();
        ids.extend(items.iter().filter_map(|item| item["id"].as_str().map(str::to_owned)));
        match page["next"].as_str() {
            Some(next) if ids.len() < 100_000 => after = format!("&after={next}"),
            Some(_) => return Err("the pages have no end".to_owned()),
            None => return Ok(ids),
        }
    }
}

/// How long the daemon of the rules lets a session idle, and keeps a closed one.
const IDLE: Duration = Duration::from_secs(6);
const KEPT: Duration = Duration::from_secs(12);

/// What a step must neither bring about for everybody nor put off: rest, and the end of what is kept.
async fn rules(library: &Path, ledger: &mut Ledger) -> Result<(), String> {
    let clock = Clock::make(library)?;
    let config =
        format!("idle_timeout = \"{}s\"\n[retention]\nclosed_sessions = \"{}s\"\n", IDLE.as_secs(), KEPT.as_secs());
    let mut daemon = Daemon::prepared(&[], Some(&config));
    clock.give(&mut daemon);
    daemon.start_again().await;
    let api = Api::new(&daemon.socket());
    let client = daemon.client();
    let (idle, closed) = (client.demo("rules:idle").await, client.demo("rules:closed").await);
    client.turn(&closed, "echo b").await;
    api.call("DELETE", &format!("/v1/sessions/{closed}"), None, None).await?;
    client.turn(&idle, "echo a").await;
    // Twice longer than the daemon looks for closed sessions to drop, and a third of what a session may idle.
    for offset in [9 * HOUR, 0] {
        clock.set(offset)?;
        tokio::time::sleep(IDLE / 5).await;
        let now = api.get(&format!("/v1/sessions/{idle}")).await?;
        if now["status"] != "idle" {
            ledger.violated(9, format!("at a step to {offset} s an idle session is {}", now["status"]));
        }
        let kept = api.call("GET", &format!("/v1/sessions/{closed}"), None, None).await?;
        if kept.0 != 200 {
            ledger.violated(7, format!("at a step to {offset} s a closed session is gone: {kept:?}"));
        }
    }
    clock.set(-9 * HOUR)?;
    let status = async || Ok::<Value, String>(api.get(&format!("/v1/sessions/{idle}")).await?["status"].clone());
    if let Err(late) = until("the rest of an idle session", async || match status().await? {
        status if status == "suspended" => Ok(()),
        status => Err(status.to_string()),
    })
    .await
    {
        ledger.violated(9, format!("with a clock that went back: {late}"));
    }
    clock.set(0)?;
    let dropped = until("the end of what was closed", async || {
        match api.call("GET", &format!("/v1/sessions/{closed}"), None, None).await? {
            (404, _) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    if let Err(late) = dropped.await {
        ledger.violated(9, format!("with a clock that is right again: {late}"));
    }
    ledger.checked(&[9], Checked { faults: 4, ..Checked::default() });
    Ok(())
}

/// A clock that is wrong by as much as a file says.
struct Clock {
    dir: tempfile::TempDir,
    library: PathBuf,
}

impl Clock {
    fn make(library: &Path) -> Result<Self, String> {
        let dir = tempfile::Builder::new().prefix("wharf-clock-").tempdir().map_err(|e| e.to_string())?;
        let clock = Self { dir, library: library.to_owned() };
        clock.set(0)?;
        Ok(clock)
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("offset")
    }

    /// Sets it, for every process that it was given to.
    fn set(&self, seconds: i64) -> Result<(), String> {
        let new = self.dir.path().join("offset.new");
        std::fs::write(&new, format!("{seconds:+}\n")).map_err(|e| e.to_string())?;
        std::fs::rename(new, self.file()).map_err(|e| e.to_string())
    }

    /// What gives it to a daemon. What only goes forward stays right, as it does on a machine whose clock is set.
    fn give(&self, daemon: &mut Daemon) {
        for (name, path) in [("LD_PRELOAD", &self.library), ("FAKETIME_TIMESTAMP_FILE", &self.file())] {
            daemon.set_env(name, Some(&path.to_string_lossy()));
        }
        for name in ["FAKETIME_NO_CACHE", "FAKETIME_DONT_FAKE_MONOTONIC", "FAKETIME_DISABLE_SHM", "NO_FAKE_STAT"] {
            daemon.set_env(name, Some("1"));
        }
    }
}

/// The library that gives a process another clock.
fn library() -> Result<PathBuf, String> {
    let name = "faketime/libfaketimeMT.so.1";
    let places = std::fs::read_dir("/usr/lib").map_err(|e| e.to_string())?.flatten().map(|entry| entry.path());
    let mut found =
        places.chain([PathBuf::from("/usr/lib"), PathBuf::from("/usr/local/lib")]).map(|dir| dir.join(name));
    found.find(|path| path.exists()).ok_or_else(|| {
        "the daemon's clock is set by libfaketime, which is not here: apt-get install libfaketime".to_owned()
    })
}
