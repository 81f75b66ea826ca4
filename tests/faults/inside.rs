//! Faults inside a workspace: the agent, its tool, the connection and tether itself killed.

use std::time::Duration;

use super::{
    books::Cost,
    driven::Load,
    ledger::Ledger,
    plan::Plan,
    world::{Storm, World},
};

const CALM: Duration = Duration::from_millis(900);
/// Three deaths of an agent within a minute are a crash loop, which is stopped: so many at most between two checks.
const BETWEEN_CHECKS: u64 = 4;

/// Runs the part: the connections go through execs, so that there is one to kill.
pub async fn run(plan: &Plan, ledger: &mut Ledger) -> Result<(), String> {
    let load = Load { burst: plan.burst, cancels: true };
    let config = "idle_timeout = \"off\"\ntransport = \"exec\"\n";
    let mut world = World::make(plan.seed ^ 2, &[], config, load).await?;
    let mut done = 0;
    while done < plan.rounds {
        let many = BETWEEN_CHECKS.min(plan.rounds - done);
        world
            .storm(ledger, async |storm| {
                for _ in 0..many {
                    storm.blow(CALM).await;
                    one(storm).await;
                }
            })
            .await;
        world.check(Cost::Turns, ledger).await;
        done += many;
    }
    world.end(ledger).await;
    Ok(())
}

async fn one(storm: &mut Storm<'_>) {
    let Some(container) = storm.a_container() else { return };
    let (what, pattern) = match storm.rng.u8(..4) {
        0 => ("agent killed", "^wharf-demo-agent|/wharf-demo-agent"),
        1 => ("tool killed", "sh -c .*tok-|^sleep 0"),
        2 => ("connection killed", "tether connect"),
        _ => ("tether killed", ""),
    };
    let killed = if pattern.is_empty() {
        storm.docker(&["kill", "--signal", "KILL", &container])
    } else {
        storm.docker(&["exec", "--user", "0", &container, "/bin/busybox", "pkill", "-9", "-o", "-f", pattern])
    };
    // Where there is nothing of the kind just now, nothing was killed.
    if killed.is_ok() {
        storm.fault(what);
    }
}
