//! Faults of a workspace's limits: out of memory (a tool, the agent, everything), out of processes, out of disk. Each is
//! told by its name, costs no other session anything, and no prompt that was accepted.

use std::{collections::BTreeSet, time::Duration};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::{
    api::{Api, until},
    books::Cost,
    driven::Load,
    ledger::{Checked, Ledger},
    loop_disk::Disk,
    plan::Plan,
    world::{Storm, World},
};

const CALM: Duration = Duration::from_millis(500);
/// More than the small workspace's memory, and how much of that there is.
const HOG: &str = "head -c 400000000 /dev/zero | tail -c 300000000 >/dev/null";
/// The same by several, so that none of them is what the kernel takes first.
const HOGS: &str = "for i in 1 2 3 4; do head -c 400000000 /dev/zero | tail -c 300000000 >/dev/null & done; wait";
const MEMORY: u64 = 64 << 20;
const PIDS: u64 = 48;
/// A process of a bomb; what one that can't fork any more becomes, too, so that the limit stays reached.
const SPLINTER: &str = "/bin/busybox sleep 6161";
/// Everybody may fill it, so nobody's reserve is left.
const FILL: &str = "/bin/busybox dd if=/dev/zero of=/var/lib/wharf/filler bs=1k; /bin/busybox sync";

/// Runs the part.
pub async fn run(plan: &Plan, ledger: &mut Ledger) -> Result<(), String> {
    // Dropped last: a volume that is mounted keeps its device.
    let disk = Disk::make()?;
    let load = Load { burst: plan.burst, cancels: false };
    let mut world = World::make(plan.seed ^ 9, &[], "idle_timeout = \"off\"\n", load).await?;
    let spec = json!({ "name": "small", "image": "wharf/demo:latest", "memory": MEMORY, "pids": PIDS });
    let mut small = Victim::make(&world.api, "small", &spec).await?;
    let spec = json!({ "name": "full", "image": "wharf/demo:latest" });
    let mut full = Victim::on(&world, &disk, &spec).await?;
    let mut failed = Ok(());
    for n in 0..plan.rounds {
        world
            .storm(ledger, async |storm| {
                storm.blow(CALM).await;
                failed = match n % 6 {
                    0 => tool_out_of_memory(storm, &small).await,
                    1 => full_for_output(storm, &full).await,
                    2 => agent_out_of_memory(storm, &small).await,
                    3 => out_of_processes(storm, &small).await,
                    4 => full_for_a_start(storm, &full).await,
                    _ => all_out_of_memory(storm, &small).await,
                };
            })
            .await;
        if let Err(why) = std::mem::replace(&mut failed, Ok(())) {
            ledger.violated(7, why);
        }
        // What happens in one workspace costs those in another nothing.
        world.check(Cost::Nothing, ledger).await;
        for victim in [&mut small, &mut full] {
            victim.accounts(ledger).await?;
        }
    }
    for victim in [small, full] {
        world.api.call("DELETE", &format!("/v1/workspaces/{}", victim.workspace), None, None).await?;
    }
    world.end(ledger).await;
    Ok(())
}

/// A session in a workspace that reaches its limits.
struct Victim {
    api: Api,
    id: String,
    workspace: String,
    /// Up to which event its books were checked, and which prompts had not ended there.
    checked: u64,
    open: BTreeSet<u64>,
}

/// A turn's end, and what was told and said from its prompt until then.
struct Turn {
    status: String,
    told: String,
    said: String,
}

impl Victim {
    async fn make(api: &Api, name: &str, spec: &Value) -> Result<Self, String> {
        let made = api.call("POST", "/v1/workspaces", Some(spec), None).await?;
        let (200 | 201, workspace) = made else { return Err(format!("no workspace: {made:?}")) };
        let workspace = workspace["id"].as_str().unwrap_or_default().to_owned();
        Self::session(api, name, workspace, None).await
    }

    /// Another session in the same workspace, whose agent is to be started now.
    async fn later(&self, storm: &mut Storm<'_>, prompt: Option<&str>) -> Result<Self, String> {
        let name = format!("late-{}", storm.rng.u32(..));
        Self::session(&self.api, &name, self.workspace.clone(), prompt).await
    }

    async fn session(api: &Api, name: &str, workspace: String, prompt: Option<&str>) -> Result<Self, String> {
        let mut body = json!({ "agent": "demo", "workspace": workspace, "key": format!("limits:{name}") });
        if let Some(prompt) = prompt {
            body["prompt"] = json!(prompt);
        }
        let made = api.call("POST", "/v1/sessions", Some(&body), None).await?;
        let (200 | 201, session) = made else { return Err(format!("no session: {made:?}")) };
        let id = session["id"].as_str().unwrap_or_default().to_owned();
        Ok(Self { api: api.clone(), id, workspace, checked: 0, open: BTreeSet::new() })
    }

    /// In a workspace whose tether has its journal on that disk.
    async fn on(world: &World, disk: &Disk, spec: &Value) -> Result<Self, String> {
        let made = world.api.call("POST", "/v1/workspaces", Some(spec), None).await?;
        let (200 | 201, workspace) = made else { return Err(format!("no workspace: {made:?}")) };
        let id = workspace["id"].as_str().unwrap_or_default().to_owned();
        let name = format!("wharf-{}-tether", &id[id.len() - 12..]);
        let labels = [format!("wharf.instance={}", world.daemon.instance()), format!("wharf.workspace={id}")];
        let device = format!("device={}", disk.device);
        let options = ["--opt", "type=ext4", "--opt", &device, "--label", &labels[0], "--label", &labels[1]];
        world.docker(&[&["volume", "create", "--driver", "local"], &options[..], &[name.as_str()]].concat())?;
        Self::session(&world.api, "full", id, None).await
    }

    async fn prompt(&self, text: &str) -> Result<(u64, u64), String> {
        let after = self.api.get(&format!("/v1/sessions/{}", self.id)).await?["last_seq"].as_u64().unwrap_or(0);
        let path = format!("/v1/sessions/{}/prompts", self.id);
        match self.api.call("POST", &path, Some(&json!({ "content": text })), None).await? {
            (202, accepted) => Ok((accepted["id"].as_u64().unwrap_or(0), after)),
            other => Err(format!("`{text}` is not accepted: {other:?}")),
        }
    }

    async fn events(&self, after: u64) -> Result<Vec<Value>, String> {
        let page = self.api.get(&format!("/v1/sessions/{}/events?after={after}&limit=1000", self.id)).await?;
        Ok(page["items"].as_array().cloned().unwrap_or_default())
    }

    /// Waits until all that was told after an event holds these words.
    async fn tells(&self, after: u64, words: &str) -> Result<(), String> {
        until(words, async || {
            let told = self.told(after).await?;
            if told.contains(words) { Ok(()) } else { Err(told) }
        })
        .await
    }

    /// What was told since, but the agent's own words.
    async fn told(&self, after: u64) -> Result<String, String> {
        let types = "agent.stderr,agent.exited,session.status,turn.ended,workspace.status";
        let path = format!("/v1/sessions/{}/events?after={after}&type={types}&limit=1000", self.id);
        let page = self.api.get(&path).await?;
        let events = page["items"].as_array().cloned().unwrap_or_default();
        Ok(events.iter().map(|event| event["data"].to_string()).collect::<Vec<_>>().join("\n"))
    }

    /// The agent's words since.
    async fn said(&self, after: u64) -> Result<String, String> {
        let events = self.events(after).await?;
        let said = events.iter().filter(|event| event["data"]["sessionUpdate"] == "agent_message_chunk");
        Ok(said.filter_map(|event| event["data"]["content"]["text"].as_str()).collect())
    }

    async fn end(&self, (n, after): (u64, u64)) -> Result<Turn, String> {
        let mut status = String::new();
        until("the end of a turn", async || {
            let page = self.api.get(&format!("/v1/sessions/{}/events?after={after}&type=turn.ended", self.id)).await?;
            let mut events = page["items"].as_array().into_iter().flatten();
            let ended = events.find(|event| event["data"]["prompt"] == n).ok_or("none")?;
            ended["data"]["status"].as_str().unwrap_or_default().clone_into(&mut status);
            Ok(())
        })
        .await?;
        Ok(Turn { status, told: self.told(after).await?, said: self.said(after).await? })
    }

    async fn turn(&self, text: &str) -> Result<Turn, String> {
        self.end(self.prompt(text).await?).await
    }

    /// It works: what is said comes back.
    async fn works(&self) -> Result<(), String> {
        let turn = self.turn("echo it works").await?;
        let right = turn.status == "done" && turn.said == "it works";
        if right { Ok(()) } else { Err(format!("after the fault, a turn ends as {}: {}", turn.status, turn.told)) }
    }

    async fn restore(&self) -> Result<(u16, Value), String> {
        let path = format!("/v1/sessions/{}/restore", self.id);
        self.api.try_call("POST", &path, None, None).await.ok_or_else(|| "no answer".to_owned())
    }

    fn container(&self, storm: &Storm<'_>) -> Result<String, String> {
        storm.docker(&["ps", "--quiet", "--filter", &format!("label=wharf.workspace={}", self.workspace)])
    }

    /// Runs something in the container, as this user.
    fn exec(&self, storm: &Storm<'_>, user: &str, detached: bool, script: &str) -> Result<String, String> {
        let container = self.container(storm)?;
        let mut args = vec!["exec", "--user", user];
        args.extend(detached.then_some("--detach"));
        args.extend([container.as_str(), "/bin/busybox", "sh", "-c", script]);
        storm.docker(&args)
    }

    /// Every accepted prompt came to one end, and the log has no gap.
    async fn accounts(&mut self, ledger: &mut Ledger) -> Result<(), String> {
        let (begun, mut prompts) = (self.checked, 0);
        loop {
            let page = self.events(self.checked).await?;
            if page.is_empty() {
                break;
            }
            for event in page {
                self.checked += 1;
                if event["seq"] != self.checked {
                    let what = format!("{}: where {} is expected, the log has {}", self.id, self.checked, event["seq"]);
                    ledger.violated(3, what);
                    return Ok(());
                }
                let prompt = event["data"]["prompt"].as_u64().unwrap_or(0);
                let is_once = match event["type"].as_str().unwrap_or_default() {
                    "prompt.queued" => self.open.insert(prompt),
                    "turn.ended" => self.open.remove(&prompt),
                    _ => true,
                };
                prompts += u64::from(event["type"] == "turn.ended");
                if !is_once {
                    ledger.violated(1, format!("{}: another {} of prompt {prompt}", self.id, event["type"]));
                }
            }
        }
        if !self.open.is_empty() {
            ledger.violated(1, format!("{}: accepted and not ended were {:?}", self.id, self.open));
        }
        let checked = Checked { faults: 1, prompts, events: self.checked - begun };
        ledger.checked(&[1, 3, 7], checked);
        Ok(())
    }
}

fn named(turn: &Turn, words: &str, statuses: &[&str]) -> Result<(), String> {
    if turn.told.contains(words) && statuses.contains(&turn.status.as_str()) {
        return Ok(());
    }
    Err(format!("a turn ended as {} (not {statuses:?}), and `{words}` should be in {}", turn.status, turn.told))
}

async fn tool_out_of_memory(storm: &mut Storm<'_>, victim: &Victim) -> Result<(), String> {
    storm.fault("tool out of memory");
    let prompt = victim.prompt(&format!("run {HOG}; echo after")).await?;
    named(&victim.end(prompt).await?, "", &["done"])?;
    victim.tells(prompt.1, "memory limit of 64 MiB").await?;
    victim.works().await
}

async fn agent_out_of_memory(storm: &mut Storm<'_>, victim: &Victim) -> Result<(), String> {
    storm.fault("agent out of memory");
    // The first to go where the kernel has to choose.
    let prompt = victim.prompt(&format!("run echo 1000 > /proc/$PPID/oom_score_adj; {HOGS}")).await?;
    named(&victim.end(prompt).await?, "signal 9", &["failed", "unknown"])?;
    victim.tells(prompt.1, "memory limit of 64 MiB").await?;
    victim.works().await
}

async fn all_out_of_memory(storm: &mut Storm<'_>, victim: &Victim) -> Result<(), String> {
    victim.works().await?;
    storm.fault("container out of memory");
    victim.exec(storm, "0", false, "echo 1000 > /proc/1/oom_score_adj")?;
    let prompt = victim.prompt(&format!("run {HOGS}")).await?;
    named(&victim.end(prompt).await?, "", &["failed", "unknown"])?;
    victim.tells(prompt.1, "was killed: the memory limit of 64 MiB").await?;
    victim.works().await
}

async fn out_of_processes(storm: &mut Storm<'_>, victim: &Victim) -> Result<(), String> {
    victim.works().await?;
    storm.fault("out of processes");
    let bomb = format!("trap 'exec {SPLINTER}' EXIT; while :; do {SPLINTER} & done");
    victim.exec(storm, "1000", true, &bomb)?;
    let container = victim.container(storm)?;
    until("the limit of processes", async || {
        // Threads count, too.
        let top = storm.docker(&["top", &container, "-eLo", "pid"])?;
        if top.lines().count() as u64 > PIDS { Ok(()) } else { Err(format!("{} processes", top.lines().count())) }
    })
    .await?;
    let late = victim.later(storm, None).await?;
    let tool = victim.turn("run /bin/busybox true && /bin/busybox true && echo beyond").await;
    let refused = late.restore().await;
    // Whatever was seen, the bomb ends.
    let top = storm.docker(&["top", &container, "-eo", "pid,args"])?;
    for splinter in top.lines().filter(|line| line.contains(SPLINTER)) {
        let pid = splinter.split_whitespace().next().and_then(|pid| Pid::from_raw(pid.parse().ok()?));
        kill_process(pid.ok_or("no number")?, Signal::KILL).map_err(|e| e.to_string())?;
    }
    let (tool, refused) = (tool?, refused?);
    let told = refused.1["detail"].as_str().unwrap_or_default().to_owned();
    if tool.said.contains("beyond") {
        return Err(format!("a tool ran beyond the limit of processes: {}", tool.said));
    }
    if refused.0 < 400 || !told.contains("`pids`") {
        return Err(format!("an agent that can't be started for want of processes is told as {refused:?}"));
    }
    until("the start of an agent after the bomb", async || match late.restore().await? {
        (200, _) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await?;
    late.works().await?;
    victim.works().await?;
    victim.api.call("DELETE", &format!("/v1/sessions/{}?purge=true", late.id), None, None).await.map(drop)
}

/// The agent's output waits, and nothing of it is lost; and so again in the next turn, which is told of it, too.
async fn full_for_output(storm: &mut Storm<'_>, victim: &Victim) -> Result<(), String> {
    for _ in 0..2 {
        filled(storm, victim).await?;
    }
    Ok(())
}

async fn filled(storm: &mut Storm<'_>, victim: &Victim) -> Result<(), String> {
    victim.works().await?;
    storm.fault("volume full while an agent speaks");
    // That an input was taken is written where there was room before; what comes of it needs more.
    let _ = victim.exec(storm, "0", false, FILL);
    let prompt = victim.prompt("burst 10000 of it").await?;
    let told = victim.tells(prompt.1, "disk is full").await;
    victim.exec(storm, "0", false, "/bin/busybox rm /var/lib/wharf/filler")?;
    told?;
    let mut text = String::new();
    let (n, mut after) = prompt;
    until("the end of a turn", async || {
        let page = victim.events(after).await?;
        let Some(last) = page.last() else { return Err(format!("at event {after}")) };
        after = last["seq"].as_u64().unwrap_or(after);
        for event in page.iter().filter(|event| event["data"]["sessionUpdate"] == "agent_message_chunk") {
            text.push_str(event["data"]["content"]["text"].as_str().unwrap_or_default());
        }
        let over = page.iter().any(|event| event["type"] == "turn.ended" && event["data"]["prompt"] == n);
        if over { Ok(()) } else { Err(format!("at event {after}")) }
    })
    .await?;
    let whole: String = (1..=10_000).map(|i| format!("chunk {i} ")).collect();
    if text == whole { Ok(()) } else { Err(format!("of {} bytes came {}", whole.len(), text.len())) }
}

/// An agent can't be started without a journal; with room again, it is.
async fn full_for_a_start(storm: &mut Storm<'_>, victim: &Victim) -> Result<(), String> {
    victim.works().await?;
    storm.fault("volume full when an agent starts");
    let _ = victim.exec(storm, "0", false, FILL);
    // It is accepted all the same, and waits.
    let late = victim.later(storm, Some("echo it waited")).await;
    let told = match &late {
        Ok(late) => late.tells(0, "disk is full").await,
        Err(why) => Err(why.clone()),
    };
    victim.exec(storm, "0", false, "/bin/busybox rm /var/lib/wharf/filler")?;
    told?;
    let late = late?;
    if late.restore().await?.0 != 200 {
        return Err("with room again, the session is not restored".to_owned());
    }
    let waited = late.end((1, 0)).await?;
    named(&waited, "", &["done"])?;
    if waited.said != "it waited" {
        return Err(format!("a prompt that waited for room is answered with {:?}", waited.said));
    }
    victim.works().await?;
    victim.api.call("DELETE", &format!("/v1/sessions/{}?purge=true", late.id), None, None).await.map(drop)
}
