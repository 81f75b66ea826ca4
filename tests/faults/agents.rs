//! The real agents through the main faults: Claude Code, Codex and OpenCode, each against a model server that keeps the
//! count of what it was given; daemon, agent, tool and container die in a turn, between turns and with prompts waiting.

use std::{sync::Arc, time::Duration};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

#[path = "../agents/agents.rs"]
#[allow(dead_code, reason = "the table of the agents' own tests says more than is needed here")]
mod table;

use super::{
    api::until,
    books::Cost,
    driven::{Driven, Kind, asked},
    ledger::Ledger,
    plan::Plan,
    support::{Daemon, Model},
    world::{SECRET, World},
};
use table::Agent;

const AGENTS: [&Agent; 3] = [&table::CLAUDE, &table::CODEX, &table::OPENCODE];
/// Between two chunks of a slow answer.
const DELAY: Duration = Duration::from_millis(100);
/// Chunks of an answer that comes to its end, and of one that does not.
const SHORT: u64 = 15;
const ENDLESS: u64 = 3000;
/// How long a tool runs that something happens to, in seconds.
const TOOL: u64 = 3;

/// What happens to a session with a real agent.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// The daemon dies.
    Daemon(When),
    AgentInTurn,
    AgentBetween,
    ToolKilled,
    ContainerInTurn,
    ContainerBetween,
}

/// When the daemon dies.
#[derive(Clone, Copy, Debug)]
enum When {
    InTurn,
    InTool,
    /// While a permission is asked for.
    InQuestion,
    /// At once when prompts were accepted.
    Accepted,
    /// Before a prompt is sent, which is repeated until it is answered.
    Before,
}

/// In this order: a short run takes the first.
const FAULTS: [Fault; 10] = [
    Fault::Daemon(When::InTurn),
    Fault::AgentInTurn,
    Fault::Daemon(When::Accepted),
    Fault::ContainerBetween,
    Fault::Daemon(When::Before),
    Fault::ToolKilled,
    Fault::Daemon(When::InTool),
    Fault::ContainerInTurn,
    Fault::Daemon(When::InQuestion),
    Fault::AgentBetween,
];

/// Runs the part: every fault on one agent after the other, beginning with one by the seed.
pub async fn run(plan: &Plan, ledger: &mut Ledger) -> Result<(), String> {
    // Dropped last: what joined its network has to go before.
    let model = Arc::new(Model::start(DELAY));
    let env = table::environment(&model.url());
    let env = env.each_ref().map(|(name, value)| (*name, value.as_str()));
    let config = format!("idle_timeout = \"off\"\n{}", table::CONFIG);
    let daemon = Daemon::start_with(&env, Some(&config)).await;
    let mut world = World::of(plan.seed ^ 10, daemon, Vec::new());
    let first = (plan.seed % AGENTS.len() as u64) as usize;
    for n in 0..plan.rounds as usize {
        let (fault, turn) = (FAULTS[n % FAULTS.len()], n / FAULTS.len() % AGENTS.len());
        let agent = AGENTS[(first + turn) % AGENTS.len()];
        if turn == world.sessions.len() {
            let seed = world.rng.u64(..);
            let made = session(&world, agent, turn, &model, seed).await?;
            world.sessions.push(made);
            said(&mut world, turn).await?;
        }
        let hit = Hit { agent, at: turn };
        hit.by(fault, &mut world, ledger).await.map_err(|why| format!("{}: {fault:?}: {why}", agent.name))?;
        world.check(Cost::Nothing, ledger).await;
        for session in &world.sessions {
            remembers(session, &model, ledger).await?;
        }
    }
    world.end(ledger).await;
    Ok(())
}

/// A session with this agent, which reaches the model server and nothing else.
async fn session(world: &World, agent: &Agent, n: usize, model: &Arc<Model>, seed: u64) -> Result<Driven, String> {
    let mut env = agent.env(&model.url());
    env["FAULTS_TOKEN"] = SECRET.into();
    let body = json!({ "agent": agent.name, "key": format!("agents:a{n}"), "env": env,
        "workspace": { "network": model.network() } });
    let mut session = Driven::of(&world.api, &body, seed, false).await?;
    session.model = Some(model.clone());
    Ok(session)
}

/// Asks, until it is accepted: a session that gave up meanwhile is asked to go on.
async fn ask(world: &mut World, at: usize, kind: Kind) -> Result<u64, String> {
    for _ in 0..3 {
        if let Some(n) = world.sessions[at].ask(kind).await {
            return Ok(n);
        }
    }
    Err(format!("{kind:?} is not accepted: {:?}", world.sessions[at].wrong))
}

/// A turn that has nothing to fear.
async fn said(world: &mut World, at: usize) -> Result<(), String> {
    ask(world, at, Kind::Say).await?;
    world.sessions[at].settle().await
}

/// Waits until the log tells this of a turn.
async fn told(world: &World, at: usize, n: u64, what: &str, is: impl Fn(&Value) -> bool) -> Result<(), String> {
    let (session, turn) = (&world.sessions[at], format!("turn_{n}"));
    until(what, async || {
        let events = session.unchecked().await?;
        let of_it: Vec<_> = events.iter().filter(|event| event["turn"] == turn.as_str()).collect();
        if of_it.iter().any(|event| is(event)) {
            return Ok(());
        }
        Err(of_it.last().map_or_else(|| "nothing of it is told".to_owned(), ToString::to_string))
    })
    .await
}

/// Waits until the agent speaks in a turn.
async fn speaks(world: &World, at: usize, n: u64) -> Result<(), String> {
    told(world, at, n, "the agent's first words", |event| event["data"]["sessionUpdate"] == "agent_message_chunk").await
}

/// The container of a session.
fn container(world: &World, at: usize) -> Result<String, String> {
    let filter = format!("label=wharf.workspace={}", world.sessions[at].workspace);
    let found = world.docker(&["ps", "--quiet", "--no-trunc", "--filter", &filter])?;
    if found.is_empty() { Err("no container runs".to_owned()) } else { Ok(found) }
}

/// The processes in a session's container whose command line begins so, as the machine numbers them.
fn processes(world: &World, at: usize, begin: &str) -> Result<Vec<Pid>, String> {
    let top = world.docker(&["top", &container(world, at)?, "-eo", "pid,args"])?;
    let found = top.lines().filter_map(|line| line.trim_start().split_once(' '));
    let found = found.filter(|(_, args)| args.trim_start().starts_with(begin));
    Ok(found.filter_map(|(pid, _)| Pid::from_raw(pid.parse().ok()?)).collect())
}

/// Waits for a process, and kills it.
async fn kill(world: &World, at: usize, begin: &str) -> Result<(), String> {
    runs(world, at, begin).await?;
    for pid in processes(world, at, begin)? {
        kill_process(pid, Signal::KILL).map_err(|e| e.to_string())?;
    }
    Ok(())
}

/// Waits until a process runs.
async fn runs(world: &World, at: usize, begin: &str) -> Result<(), String> {
    until(begin, async || match processes(world, at, begin)?.as_slice() {
        [] => Err("it does not run".to_owned()),
        _ => Ok(()),
    })
    .await
}

/// One agent, and where its session is.
struct Hit {
    agent: &'static Agent,
    at: usize,
}

impl Hit {
    /// The books are checked after it.
    async fn by(&self, fault: Fault, world: &mut World, ledger: &mut Ledger) -> Result<(), String> {
        let process = self.agent.process.trim_start_matches('^');
        let what = match fault {
            Fault::Daemon(when) => return self.daemon(when, world, ledger).await,
            Fault::ToolKilled => {
                ask(world, self.at, Kind::Tool(TOOL)).await?;
                kill(world, self.at, &format!("sleep {TOOL}")).await?;
                self.fault(world, "tool killed", ledger);
                return Ok(());
            }
            Fault::AgentInTurn => {
                let n = self.endless(world, &["failed"]).await?;
                speaks(world, self.at, n).await?;
                kill(world, self.at, process).await?;
                "agent killed in a turn"
            }
            Fault::AgentBetween => {
                world.sessions[self.at].settle().await?;
                kill(world, self.at, process).await?;
                self.noticed(world).await?;
                "agent killed between turns"
            }
            Fault::ContainerInTurn => {
                let n = self.endless(world, &["unknown"]).await?;
                speaks(world, self.at, n).await?;
                world.docker(&["kill", &container(world, self.at)?])?;
                "container killed in a turn"
            }
            Fault::ContainerBetween => {
                world.sessions[self.at].settle().await?;
                let is_removed = world.rng.bool();
                let how: &[&str] = if is_removed { &["rm", "--force"] } else { &["kill"] };
                world.docker(&[how, &[&container(world, self.at)?]].concat())?;
                self.noticed(world).await?;
                if is_removed { "container removed between turns" } else { "container killed between turns" }
            }
        };
        self.fault(world, what, ledger);
        said(world, self.at).await
    }

    /// The daemon dies, in order or not, and is started again.
    async fn daemon(&self, when: When, world: &mut World, ledger: &mut Ledger) -> Result<(), String> {
        match when {
            When::InTurn => {
                let n = ask(world, self.at, Kind::Slow(SHORT)).await?;
                speaks(world, self.at, n).await?;
            }
            When::InTool => {
                ask(world, self.at, Kind::Tool(TOOL)).await?;
                runs(world, self.at, &format!("sleep {TOOL}")).await?;
            }
            When::InQuestion => {
                let n = ask(world, self.at, Kind::Tool(0)).await?;
                told(world, self.at, n, "a request", |event| event["type"] == "permission.requested").await?;
            }
            When::Accepted => {
                // With a queue or without one: the first is on its way, the others wait.
                for _ in 0..world.rng.u8(1..4) {
                    ask(world, self.at, Kind::Say).await?;
                }
            }
            When::Before => {}
        }
        let is_killed = world.rng.u8(..4) > 0;
        if is_killed {
            world.daemon.kill();
        } else {
            world.daemon.stop();
        }
        let how = if is_killed { "killed" } else { "terminated" };
        self.fault(world, &format!("daemon {how}: {when:?}"), ledger);
        let again = world.daemon.start_again();
        if let When::Before = when {
            let (accepted, ()) = futures_util::future::join(world.sessions[self.at].ask(Kind::Say), again).await;
            accepted.ok_or("a prompt to a daemon that is down is not accepted when it is up")?;
        } else {
            again.await;
        }
        Ok(())
    }

    /// A prompt may come before anyone knows of a death: then nobody can know whether the agent was given it. Once the
    /// death is known, nothing may be lost.
    async fn noticed(&self, world: &mut World) -> Result<(), String> {
        if world.rng.bool() {
            self.prompt(world, Kind::Say, &["done", "failed", "unknown"]).await?;
            return Ok(());
        }
        let session = &world.sessions[self.at];
        until("the session's rest", async || {
            let now = session.api.get(&format!("/v1/sessions/{}", session.id)).await?;
            if now["status"] == "suspended" { Ok(()) } else { Err(now["status"].to_string()) }
        })
        .await
    }

    /// A prompt whose turn can't come to its own end.
    async fn endless(&self, world: &mut World, ends: &'static [&'static str]) -> Result<u64, String> {
        self.prompt(world, Kind::Slow(ENDLESS), ends).await
    }

    /// A prompt whose turn may end in these ways.
    async fn prompt(&self, world: &mut World, kind: Kind, ends: &'static [&'static str]) -> Result<u64, String> {
        let n = ask(world, self.at, kind).await?;
        for sent in world.sessions[self.at].sent.iter_mut().filter(|sent| sent.n == n) {
            sent.ends = Some(ends);
        }
        Ok(n)
    }

    fn fault(&self, world: &mut World, what: &str, ledger: &mut Ledger) {
        world.fault(&format!("{what} ({})", self.agent.name), ledger);
    }
}

/// Whenever the model was asked something new, it was given all that had been done before in the same conversation.
async fn remembers(session: &Driven, model: &Model, ledger: &mut Ledger) -> Result<(), String> {
    let prompts = session.api.get(&format!("/v1/sessions/{}/prompts?limit=1000", session.id)).await?;
    let done = |n: u64| {
        let mut prompts = prompts["items"].as_array().into_iter().flatten();
        prompts.any(|prompt| prompt["id"] == n && prompt["state"] == "done")
    };
    let (asked, mut before) = (asked(model), 0);
    for sent in &session.sent {
        let ask = asked.iter().find(|ask| ask["text"].as_str().is_some_and(|text| text.contains(&sent.token)));
        if let Some(turns) = ask.and_then(|ask| ask["turns"].as_u64())
            && turns <= before
        {
            let id = &session.id;
            ledger.violated(7, format!("{id}: prompt {} came with {turns} turns after {before} were done", sent.n));
        }
        before += u64::from(done(sent.n));
    }
    Ok(())
}
