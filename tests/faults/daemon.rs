//! Faults of the daemon: killed at any time and at named points, terminated, stopped for a while.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::{
    api::{Api, until},
    books::Cost,
    driven::Load,
    ledger::Ledger,
    plan::Plan,
    world::{Storm, World},
};

/// How long the load works between two faults at the most.
const CALM: Duration = Duration::from_millis(400);
/// How long a named point may stay unpassed.
const UNTIL_PASSED: Duration = Duration::from_millis(2500);
/// Faults between two checks.
const BETWEEN_CHECKS: u64 = 10;

/// Runs the part.
pub async fn run(plan: &Plan, ledger: &mut Ledger) -> Result<(), String> {
    let load = Load { burst: plan.burst, cancels: false };
    let mut world = World::make(plan.seed, &[], "idle_timeout = \"off\"\n", load).await?;
    let mut points = points(&mut world.rng, plan.rounds);
    let mut missed = Vec::new();
    let mut done = 0;
    while done < plan.rounds {
        let many = BETWEEN_CHECKS.min(plan.rounds - done);
        world
            .storm(ledger, async |storm| {
                for _ in 0..many {
                    storm.blow(CALM).await;
                    match storm.rng.u8(..10) {
                        0..5 => killed(storm).await,
                        5..8 => at_a_point(storm, points.pop(), &mut missed).await,
                        8 => terminated(storm).await,
                        _ => stopped(storm).await,
                    }
                }
            })
            .await;
        world.check(Cost::Nothing, ledger).await;
        done += many;
    }
    if !missed.is_empty() {
        ledger.remark(format!(
            "points that were not passed in time, where the daemon was killed instead: {}",
            missed.join(" ")
        ));
    }
    world.end(ledger).await;
    Ok(())
}

/// The named points in an order by chance, each at an early or a later pass, as many as there may be rounds.
fn points(rng: &mut fastrand::Rng, rounds: u64) -> Vec<(&'static str, u64)> {
    let mut all = Vec::new();
    while (all.len() as u64) < rounds {
        let mut names = wharf::crash::POINTS;
        rng.shuffle(&mut names);
        all.extend(names.map(|name| (name, if rng.bool() { rng.u64(1..4) } else { rng.u64(1..40) })));
    }
    all
}

async fn killed(storm: &mut Storm<'_>) {
    storm.fault("daemon killed");
    storm.daemon.kill();
    storm.daemon.start_again().await;
}

async fn terminated(storm: &mut Storm<'_>) {
    storm.fault("daemon terminated");
    storm.daemon.stop();
    storm.daemon.start_again().await;
}

async fn stopped(storm: &mut Storm<'_>) {
    storm.fault("daemon stopped for a while");
    let pid = Pid::from_raw(storm.daemon.pid().cast_signed()).expect("a process");
    kill_process(pid, Signal::STOP).expect("it is stopped");
    storm.blow(Duration::from_millis(500)).await;
    kill_process(pid, Signal::CONT).expect("it goes on");
}

/// Points that only a session that is made or woken passes.
const OF_BIRTHS: [&str; 7] = [
    "registry-written",
    "registry-updated",
    "workspace-asked",
    "container-made",
    "container-started",
    "workspace-connected",
    "process-started",
];

/// Killed by itself at a named point, which may be in its start: then it is started again without.
async fn at_a_point(storm: &mut Storm<'_>, point: Option<(&str, u64)>, missed: &mut Vec<String>) {
    let Some((name, nth)) = point else { return killed(storm).await };
    if OF_BIRTHS.contains(&name) {
        let (api, number) = (storm.api.clone(), storm.rng.u64(..));
        let (born, ()) = futures_util::future::join(birth(api, number), crash(storm, name, 1, missed)).await;
        if let Err(why) = born {
            storm.ledger.violated(1, format!("a session that was made at {name}: {why}"));
        }
    } else {
        crash(storm, name, nth, missed).await;
    }
}

/// A session with its first prompt, made while the daemon dies, and deleted when the turn is over.
async fn birth(api: Api, number: u64) -> Result<(), String> {
    let body = json!({ "agent": "demo", "key": format!("births:{number}") });
    let made = api.call("POST", "/v1/sessions", Some(&body), None).await?;
    let (200 | 201, session) = made else { return Err(format!("{made:?}")) };
    let path = format!("/v1/sessions/{}", session["id"].as_str().unwrap_or_default());
    let prompt = json!({ "content": "echo first" });
    let accepted = api.call("POST", &format!("{path}/prompts"), Some(&prompt), Some("first")).await?;
    let (202, _) = accepted else { return Err(format!("{accepted:?}")) };
    until("the end of its first turn", async || {
        let events = api.get(&format!("{path}/events?limit=1000")).await?;
        let events = events["items"].as_array().cloned().unwrap_or_default();
        let of = |kind: &str| events.iter().filter(|event| event["type"] == kind).count();
        let said = events.iter().filter(|event| event["data"]["sessionUpdate"] == "agent_message_chunk");
        let said: String = said.filter_map(|event| event["data"]["content"]["text"].as_str()).collect();
        match (of("session.created"), of("prompt.queued"), of("turn.started"), of("turn.ended")) {
            (1, 1, 1, 1) if said == "first" => Ok(()),
            counts => Err(format!("{counts:?} {said:?}")),
        }
    })
    .await?;
    match api.call("DELETE", &format!("{path}?purge=true"), None, None).await? {
        (200 | 202 | 204 | 404, _) => Ok(()),
        other => Err(format!("it is not deleted: {other:?}")),
    }
}

async fn crash(storm: &mut Storm<'_>, name: &str, nth: u64, missed: &mut Vec<String>) {
    storm.daemon.kill();
    storm.fault("daemon killed");
    storm.daemon.set_env(wharf::crash::VARIABLE, Some(&format!("{name}:{nth}")));
    storm.daemon.spawn();
    let passed = storm.dies(UNTIL_PASSED).await;
    if passed {
        storm.fault(&format!("daemon killed at {name}"));
    } else {
        missed.push(format!("{name}:{nth}"));
        storm.fault("daemon killed");
        storm.daemon.kill();
    }
    storm.daemon.set_env(wharf::crash::VARIABLE, None);
    storm.daemon.start_again().await;
}
