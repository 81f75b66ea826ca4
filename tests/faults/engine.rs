//! Faults of the engine: killed and terminated, with and without live-restore, and its shims killed.

use std::time::Duration;

use super::{
    books::Cost,
    driven::Load,
    ledger::Ledger,
    plan::Plan,
    private::PrivateEngine,
    world::{Storm, World},
};

const CALM: Duration = Duration::from_millis(1500);
const AWAY: Duration = Duration::from_millis(1500);
const BETWEEN_CHECKS: u64 = 3;

/// Runs the part, once with and once without live-restore.
pub async fn run(plan: &Plan, ledger: &mut Ledger) -> Result<(), String> {
    for live_restore in [true, false] {
        let mut engine = PrivateEngine::start(live_restore)?;
        let host = engine.host();
        let load = Load { burst: plan.burst, cancels: true };
        let config = "idle_timeout = \"off\"\n";
        let mut world = World::make(plan.seed ^ 4, &[("DOCKER_HOST", &host)], config, load).await?;
        let mut done = 0;
        let rounds = plan.rounds.div_ceil(2);
        while done < rounds {
            let many = BETWEEN_CHECKS.min(rounds - done);
            let mut failed = Ok(());
            world
                .storm(ledger, async |storm| {
                    for _ in 0..many {
                        storm.blow(CALM).await;
                        if failed.is_ok() {
                            failed = one(storm, &mut engine, live_restore).await;
                        }
                    }
                })
                .await;
            failed?;
            world.check(Cost::Turns, ledger).await;
            done += many;
        }
        world.end(ledger).await;
    }
    Ok(())
}

async fn one(storm: &mut Storm<'_>, engine: &mut PrivateEngine, live_restore: bool) -> Result<(), String> {
    let with = if live_restore { "with live-restore" } else { "without live-restore" };
    match storm.rng.u8(..5) {
        0..2 => {
            storm.fault(&format!("engine killed {with}"));
            engine.kill();
        }
        2..4 => {
            storm.fault(&format!("engine terminated {with}"));
            engine.terminate();
        }
        _ => {
            let filter = format!("label=wharf.instance={}", storm.daemon.instance());
            let running = storm.docker(&["ps", "-q", "--no-trunc", "--filter", &filter]).unwrap_or_default();
            if running.lines().next().is_some_and(|container| engine.kill_shim(container)) {
                storm.fault("shim killed");
            }
            return Ok(());
        }
    }
    storm.blow(AWAY).await;
    engine.spawn()
}
