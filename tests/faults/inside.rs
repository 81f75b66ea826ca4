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

/// One fault; whether there was something to hit.
async fn one(storm: &mut Storm<'_>) -> bool {
    let Some(container) = storm.a_container() else { return false };
    let (what, pattern) = match storm.rng.u8(..4) {
        0 => ("agent killed", "*wharf-demo-agent*"),
        1 => ("tool killed", "*sh*tok-*|sleep*0.2"),
        2 => ("connection killed", "*tether*connect*"),
        _ => ("tether killed", ""),
    };
    let killed = if pattern.is_empty() {
        storm.docker(&["kill", "--signal", "KILL", &container]).is_ok()
    } else {
        let script = format!(
            "/bin/busybox ps -o pid,args | while read pid args; do case \"$args\" in *busybox*ps*|*while*) ;; \
             {pattern}) kill -9 $pid && echo $pid; break;; esac; done"
        );
        let exec = ["exec", "--user", "0", &container, "/bin/busybox", "sh", "-c", &script];
        storm.docker(&exec).is_ok_and(|pid| !pid.is_empty())
    };
    if killed {
        storm.fault(what);
    }
    killed
}
