//! What others do to a workspace's container: stopped, killed, frozen, removed, out of memory.

use std::time::Duration;

use super::{
    books::Cost,
    driven::Load,
    ledger::Ledger,
    plan::Plan,
    world::{Storm, World},
};

const CALM: Duration = Duration::from_millis(1200);
const BETWEEN_CHECKS: u64 = 5;

/// Runs the part.
pub async fn run(plan: &Plan, ledger: &mut Ledger) -> Result<(), String> {
    let load = Load { burst: plan.burst, cancels: true };
    let mut world = World::make(plan.seed ^ 3, &[], "idle_timeout = \"off\"\n", load).await?;
    let mut done = 0;
    while done < plan.rounds {
        let many = BETWEEN_CHECKS.min(plan.rounds - done);
        world
            .storm(ledger, async |storm| {
                let mut injected = 0;
                while injected < many {
                    storm.blow(CALM).await;
                    injected += u64::from(one(storm).await);
                }
            })
            .await;
        world.check(Cost::Turns, ledger).await;
        done += many;
    }
    world.end(ledger).await;
    Ok(())
}

/// One fault; whether there was a container to hit.
async fn one(storm: &mut Storm<'_>) -> bool {
    let Some(container) = storm.a_container() else { return false };
    let (what, args): (&str, &[&str]) = match storm.rng.u8(..5) {
        0 => ("container stopped", &["stop", "--time", "1"]),
        1 => ("container killed", &["kill"]),
        2 => ("container removed", &["rm", "--force"]),
        3 => ("container restarted", &["restart", "--time", "1"]),
        _ => ("container frozen", &["pause"]),
    };
    let done = storm.docker(&[args, &[container.as_str()]].concat());
    if done.is_err() {
        return false;
    }
    storm.fault(what);
    if what == "container frozen" {
        storm.blow(Duration::from_millis(600)).await;
        // It may have been thawed by whoever needed it.
        let _ = storm.docker(&["unpause", &container]);
    }
    true
}
