//! Faults of the engine: killed and terminated, with and without live-restore, and its shims killed.

use std::time::Duration;

use super::{
    api::until,
    books::Cost,
    driven::Load,
    ledger::Ledger,
    plan::Plan,
    private::PrivateEngine,
    world::{Storm, World},
};

const CALM: Duration = Duration::from_millis(1000);
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
        let (mut done, mut order) = (0, Vec::new());
        let rounds = plan.rounds.div_ceil(2);
        while done < rounds {
            let many = BETWEEN_CHECKS.min(rounds - done);
            let mut failed = Ok(());
            world
                .storm(ledger, async |storm| {
                    for _ in 0..many {
                        storm.blow(CALM).await;
                        if order.is_empty() {
                            order.extend(FAULTS);
                            storm.rng.shuffle(&mut order);
                        }
                        if let (Ok(()), Some(fault)) = (&failed, order.pop()) {
                            failed = one(storm, &mut engine, live_restore, fault).await;
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

/// What happens to the engine, each as often as the others.
#[derive(Clone, Copy)]
enum Fault {
    Killed,
    Terminated,
    /// What holds one of its containers is killed.
    Shim,
}

const FAULTS: [Fault; 3] = [Fault::Killed, Fault::Terminated, Fault::Shim];

async fn one(
    storm: &mut Storm<'_>,
    engine: &mut PrivateEngine,
    live_restore: bool,
    fault: Fault,
) -> Result<(), String> {
    let with = if live_restore { "with live-restore" } else { "without live-restore" };
    match fault {
        Fault::Killed => {
            storm.fault(&format!("engine killed {with}"));
            engine.kill();
        }
        Fault::Terminated => {
            storm.fault(&format!("engine terminated {with}"));
            engine.terminate();
        }
        Fault::Shim => {
            // After the fault before it, the containers come one by one.
            let mut hit = String::new();
            until("a running container", async || {
                hit = storm.a_container().ok_or("none runs")?;
                Ok(())
            })
            .await?;
            if !engine.kill_shim(&hit) {
                return Err(format!("{hit} runs and has no shim"));
            }
            storm.fault(&format!("shim killed {with}"));
            return Ok(());
        }
    }
    storm.blow(AWAY).await;
    engine.spawn()
}
