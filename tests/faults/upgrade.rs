//! Faults of an upgrade: a store that another version wrote, and a tether of another build that runs on.

use std::{os::unix::fs::PermissionsExt as _, time::Duration};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use wharf::{
    embedded,
    tether::{
        frames::{encode_json, kind},
        messages::Welcome,
    },
};

use super::{
    api::Api,
    books::Cost,
    driven::Load,
    fixture,
    ledger::{Checked, Ledger},
    plan::Plan,
    support::{Daemon, docker},
    world::{Storm, World},
};

const CALM: Duration = Duration::from_millis(900);
const BETWEEN_CHECKS: u64 = 3;

/// Runs the part.
pub async fn run(plan: &Plan, ledger: &mut Ledger) -> Result<(), String> {
    fixture::opens(ledger).await?;
    fixture::is_refused(ledger).await?;
    another_build(plan, ledger).await?;
    another_protocol(ledger).await
}

/// The beginning of a program's checksum, as containers are labelled with it.
fn version(program: &[u8]) -> String {
    Sha256::digest(program)[..6].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Daemons of two builds after each other, each over the tethers that the other delivered, under load.
async fn another_build(plan: &Plan, ledger: &mut Ledger) -> Result<(), String> {
    let dir = tempfile::Builder::new().prefix("wharf-upgrade-").tempdir().map_err(|e| e.to_string())?;
    // What follows a program's last section changes nothing but the program's checksum.
    let other = [embedded::TETHER, b"\0another build"].concat();
    let file = dir.path().join("tether");
    std::fs::write(&file, &other).map_err(|e| e.to_string())?;
    let file = file.to_string_lossy().into_owned();
    let load = Load { burst: plan.burst, cancels: false };
    let env = [(embedded::VARIABLE, file.as_str())];
    let mut world = World::make(plan.seed ^ 8, &env, "idle_timeout = \"off\"\n", load).await?;
    let mut is_other = true;
    let mut done = 0;
    while done < plan.rounds {
        let many = BETWEEN_CHECKS.min(plan.rounds - done);
        world
            .storm(ledger, async |storm| {
                for _ in 0..many {
                    storm.blow(CALM).await;
                    is_other = !is_other;
                    exchange(storm, is_other.then_some(&file)).await;
                    storm.blow(CALM).await;
                }
            })
            .await;
        world.check(Cost::Nothing, ledger).await;
        done += many;
        let expected = if is_other { version(&other) } else { version(embedded::TETHER) };
        renewed(&mut world, &expected, ledger).await?;
    }
    world.end(ledger).await;
    Ok(())
}

/// A daemon of the other build takes over, in order or not.
async fn exchange(storm: &mut Storm<'_>, tether: Option<&String>) {
    storm.fault(if tether.is_some() { "daemon exchanged for another build's" } else { "daemon upgraded" });
    if storm.rng.bool() {
        storm.daemon.kill();
    } else {
        storm.daemon.stop();
    }
    storm.daemon.set_env(embedded::VARIABLE, tether.map(String::as_str));
    storm.daemon.start_again().await;
}

/// The containers that ran on have the tether of their making; once they stood still, they have the daemon's.
async fn renewed(world: &mut World, expected: &str, ledger: &mut Ledger) -> Result<(), String> {
    let mut workspaces: Vec<_> = world.sessions.iter().map(|session| session.workspace.clone()).collect();
    workspaces.dedup();
    for workspace in &workspaces {
        world.api.call("POST", &format!("/v1/workspaces/{workspace}/stop"), None, None).await?;
    }
    world.storm(ledger, async |storm| storm.blow(CALM).await).await;
    world.check(Cost::Nothing, ledger).await;
    for workspace in &workspaces {
        let filter = format!("label=wharf.workspace={workspace}");
        let label = world.docker(&["ps", "--filter", &filter, "--format", "{{.Label \"wharf.tether\"}}"])?;
        if label != expected {
            ledger.violated(3, format!("after it stood still, {workspace} runs tether {label}, not {expected}"));
        }
    }
    Ok(())
}

/// A tether that speaks another protocol, as far as a daemon hears of it.
fn speechless() -> Result<String, String> {
    let welcome = Welcome {
        version: 0,
        tether: "0.0.1".to_owned(),
        generation: "g".to_owned(),
        boot_id: "b".to_owned(),
        processes: Vec::new(),
        host: None,
    };
    let mut frame = Vec::new();
    encode_json(&mut frame, kind::WELCOME, &welcome).map_err(|e| e.to_string())?;
    let octal: String = frame.iter().map(|byte| format!("\\{byte:03o}")).collect();
    Ok(format!(
        "#!/bin/busybox sh\nif [ \"$1\" = connect ]; then printf '{octal}'; exec /bin/busybox cat; fi\n\
         trap 'exit 0' TERM\nwhile :; do /bin/busybox sleep 1 & wait $!; done\n"
    ))
}

/// It is refused in words, and the container gets one that can be spoken to; the conversation goes on.
async fn another_protocol(ledger: &mut Ledger) -> Result<(), String> {
    let dir = tempfile::Builder::new().prefix("wharf-upgrade-").tempdir().map_err(|e| e.to_string())?;
    let file = dir.path().join("tether");
    std::fs::write(&file, speechless()?).map_err(|e| e.to_string())?;
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).map_err(|e| e.to_string())?;
    let mut daemon = Daemon::start_with(&[], Some("idle_timeout = \"off\"\ntransport = \"exec\"\n")).await;
    let (api, client) = (Api::new(&daemon.socket()), daemon.client());
    let id = client.demo("upgrade:protocol").await;
    client.turn(&id, "echo remember").await;
    let workspace = client.session(&id).await["workspace"].as_str().unwrap_or_default().to_owned();
    api.call("POST", &format!("/v1/workspaces/{workspace}/stop"), None, None).await?;
    daemon.stop();
    daemon.set_env(embedded::VARIABLE, Some(&file.to_string_lossy()));
    daemon.start_again().await;
    let restored = client.post(&format!("/v1/sessions/{id}/restore"), json!({})).await;
    let told = restored.json["detail"].as_str().unwrap_or_default();
    if restored.status < 400 || !told.contains("speaks version 0 of the protocol") {
        ledger.violated(7, format!("a tether that can't be spoken to is answered with {restored:?}"));
    }
    ledger.fault("tether of another protocol");
    let container = daemon.containers().pop().unwrap_or_default();
    if docker(&["inspect", "--format", "{{.State.Running}}", &container]) != Ok("true".to_owned()) {
        return Err("the container with the other tether does not run".to_owned());
    }
    daemon.kill();
    daemon.set_env(embedded::VARIABLE, None);
    daemon.start_again().await;
    let restored = client.post(&format!("/v1/sessions/{id}/restore"), json!({})).await;
    if restored.status != 200 {
        ledger.violated(7, format!("the container with the other tether is not made anew: {restored:?}"));
    }
    let (remembered, _) = client.turn(&id, "recall").await;
    if !remembered.contains("remember") {
        ledger.violated(7, format!("after the tether of another protocol, the agent remembers {remembered:?}"));
    }
    let log = api.request("GET", &format!("/v1/workspaces/{workspace}/logs")).send().await;
    let log = log.map_err(|e| e.to_string())?.text().await.map_err(|e| e.to_string())?;
    if !log.contains("can't be spoken to") {
        ledger.violated(7, format!("the workspace's log does not tell why its container is another: {log}"));
    }
    ledger.checked(&[7], Checked { faults: 1, prompts: 2, events: 0 });
    Ok(())
}

/// Whether all that was told then is told now; what is told now may be more.
pub fn holds(then: &Value, now: &Value) -> Result<(), String> {
    match (then, now) {
        (Value::Object(then), Value::Object(now)) => then.iter().try_for_each(|(name, value)| {
            holds(value, now.get(name).unwrap_or(&Value::Null)).map_err(|why| format!("{name}: {why}"))
        }),
        (Value::Array(then), Value::Array(now)) if then.len() == now.len() => then
            .iter()
            .zip(now)
            .enumerate()
            .try_for_each(|(n, (then, now))| holds(then, now).map_err(|why| format!("{n}: {why}"))),
        _ if then == now => Ok(()),
        _ => Err(format!("was {then} and is {now}")),
    }
}
