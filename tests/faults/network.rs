//! Faults of the network between the daemon and an engine behind TCP: cut without a word, and reset. A turn goes on
//! inside meanwhile, so that nothing may be lost.

use std::time::Duration;

use serde_json::Value;

use super::{
    api::{Api, until},
    books::Cost,
    driven::Load,
    ledger::Ledger,
    namespace::{Cut, Network},
    plan::Plan,
    private::PrivateEngine,
    support::Daemon,
    world::{Storm, World},
};

const CALM: Duration = Duration::from_millis(1200);
const BETWEEN_CHECKS: u64 = 4;
/// The shortest cut in milliseconds, and the longest that nobody need notice.
const SHORT: (u64, u64) = (50, 2500);
/// As long as it takes `/readyz` to see it, with room.
const SEEN: u64 = 7000;
/// Longer than the daemon's connections live in silence.
const LONG: (u64, u64) = (26_000, 40_000);

/// Runs the part.
pub async fn run(plan: &Plan, ledger: &mut Ledger) -> Result<(), String> {
    let network = Network::make()?;
    let engine = PrivateEngine::start_under(true, network.under_engine(), Some(Network::address()))?;
    let mut daemon = Daemon::prepared(&[("DOCKER_HOST", &Network::address())], Some("idle_timeout = \"off\"\n"));
    daemon.run_under(network.under_daemon());
    daemon.start_again().await;
    let load = Load { burst: plan.burst, cancels: false };
    let mut world = World::around(plan.seed ^ 6, daemon, Some(engine.host()), load).await?;
    let mut done = 0;
    while done < plan.rounds {
        let many = BETWEEN_CHECKS.min(plan.rounds - done);
        let mut failed = Ok(());
        world
            .storm(ledger, async |storm| {
                for n in done..done + many {
                    storm.blow(CALM).await;
                    if failed.is_ok() {
                        failed = one(storm, &network, n).await;
                    }
                }
            })
            .await;
        failed?;
        world.check(Cost::Nothing, ledger).await;
        done += many;
    }
    one_connection_each(&world, ledger).await;
    world.end(ledger).await;
    Ok(())
}

/// One fault: every fourth is long enough to be seen, every tenth longer than a silent connection lives.
async fn one(storm: &mut Storm<'_>, network: &Network, n: u64) -> Result<(), String> {
    if storm.rng.u8(..4) == 0 {
        let at_the_engine = storm.rng.bool();
        storm.fault(if at_the_engine { "connections reset by the engine" } else { "connections reset by the daemon" });
        return network.reset(at_the_engine);
    }
    let cuts = [Cut::There, Cut::Back, Cut::Silent, Cut::Down];
    let cut = cuts[storm.rng.usize(..cuts.len())];
    let long = match n % 10 {
        9 => storm.rng.u64(LONG.0..LONG.1),
        n if n % 4 == 3 => SEEN,
        _ => storm.rng.u64(SHORT.0..SHORT.1),
    };
    storm.fault(&format!("network cut ({cut:?}) for {}", if long > LONG.0 { "long" } else { "a while" }));
    network.cut(cut)?;
    let (api, killed) = (storm.api.clone(), storm.rng.u8(..5) == 0);
    let meanwhile = async {
        if killed {
            storm.fault("daemon killed while the network is cut");
            storm.daemon.kill();
            storm.daemon.start_again().await;
        }
        if long >= SEEN { away(&api).await } else { Ok(()) }
    };
    let ((), seen) = futures_util::future::join(tokio::time::sleep(Duration::from_millis(long)), meanwhile).await;
    network.heal(cut)?;
    if let Err(wrong) = seen {
        storm.ledger.violated(1, wrong);
    }
    if long >= SEEN
        && let Err(wrong) = until("the engine's return", async || ready(&api).await.map(drop)).await
    {
        storm.ledger.violated(1, wrong);
    }
    Ok(())
}

/// The daemon answers, and says that the engine is away and nothing else is wrong.
async fn away(api: &Api) -> Result<(), String> {
    for path in ["/healthz", "/v1/sessions"] {
        let answer = api.try_call("GET", path, None, None).await;
        if !matches!(answer, Some((200, _))) {
            return Err(format!("with the network cut, {path} answers {answer:?}"));
        }
    }
    let Err(seen) = ready(api).await else { return Err("/readyz does not see that the engine is away".to_owned()) };
    if seen.contains("engine: ") { Ok(()) } else { Err(format!("/readyz says {seen} of a cut network")) }
}

async fn ready(api: &Api) -> Result<(), String> {
    match api.try_call("GET", "/readyz", None, None).await {
        Some((200, _)) => Ok(()),
        Some((503, problem)) => {
            let broken = |part: &&Value| part["ok"] == false;
            let parts = problem["components"].as_array().cloned().unwrap_or_default();
            let told: Vec<_> =
                parts.iter().filter(broken).map(|part| format!("{}: {}", part["name"], part["message"])).collect();
            Err(told.join("; ").replace('"', ""))
        }
        other => Err(format!("{other:?}")),
    }
}

/// Of all the connections that were cut, no process is left that holds one.
async fn one_connection_each(world: &World, ledger: &mut Ledger) {
    let looked = until("the end of the cut connections", async || {
        for container in world.docker(&["ps", "-q", "--filter", "label=wharf.workspace"])?.lines() {
            let top = world.docker(&["top", container, "-eo", "pid,args"])?;
            let held = top.lines().filter(|line| line.contains("tether connect")).count();
            if held > 1 {
                return Err(format!("{held} connections into {container}"));
            }
        }
        Ok(())
    });
    if let Err(left) = looked.await {
        ledger.violated(11, left);
    }
}
