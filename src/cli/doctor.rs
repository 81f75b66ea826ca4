//! `wharf doctor`: whether the daemon and all that it needs are well, and what to do where they are not.

use std::process::ExitCode;

use clap::Args;
use reqwest::Method;
use serde::Serialize;
use serde_json::{Value, json};

use super::client::{Client, Query};
use super::failure::{Failure, code};
use super::ui::{Ui, bytes};
use super::{Outcome, agents};
use crate::api::{AgentInfo, Component};
use crate::domain::Page;
use crate::workspace::Orphan;

/// Check the daemon and all that it needs
#[derive(Args, Debug)]
pub(super) struct Doctor {
    /// Remove what is left over in the engine
    #[arg(long)]
    fix: bool,
    /// Print the description of its API, which is what /openapi.json gives
    #[arg(long, conflicts_with = "fix")]
    api: bool,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Check {
    name: String,
    ok: bool,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
}

impl Check {
    fn new(name: &str, ok: bool, message: impl Into<String>, fix: Option<&str>) -> Self {
        Self { name: name.to_owned(), ok, message: message.into(), fix: fix.filter(|_| !ok).map(str::to_owned) }
    }
}

impl Doctor {
    pub(super) async fn run(self, client: &Client, ui: &Ui) -> Outcome {
        if self.api {
            ui.line(&client.text(&["openapi.json"]).await?)?;
            return Ok(ExitCode::SUCCESS);
        }
        let (_, health) = client.get_any(&["healthz"]).await?;
        let mut checks = vec![daemon(&health, &client.host())];
        let (_, ready) = client.get_any(&["readyz"]).await?;
        checks.extend(components(&ready));
        match agents::list(client).await {
            Ok(agents) => {
                checks.extend(images(&agents));
                checks.extend(disk(client).await);
                checks.extend(self.orphans(client).await);
            }
            Err(failure) => {
                let fix = "set WHARF_TOKEN to what is in `<state-dir>/token`, or use the socket";
                checks.push(Check::new("access", false, failure.message(), Some(fix)));
            }
        }
        let ok = checks.iter().all(|check| check.ok);
        print(&checks, ok, ui)?;
        Ok(if ok { ExitCode::SUCCESS } else { ExitCode::from(code::UNAVAILABLE) })
    }
}

impl Doctor {
    async fn orphans(&self, client: &Client) -> Vec<Check> {
        let method = if self.fix { Method::DELETE } else { Method::GET };
        let path = ["v1", "orphans"];
        let found = async {
            let removed: Page<Orphan> = client.call(method, &path, &Query::new()).await?;
            match self.fix {
                true => {
                    Ok::<_, Failure>((removed.items, client.get::<Page<Orphan>>(&path, &Query::new()).await?.items))
                }
                false => Ok((Vec::new(), removed.items)),
            }
        };
        match found.await {
            Ok((removed, left)) => orphans(&removed, &left),
            // That the engine is away is told already.
            Err(failure) if failure.code() == Some("engine_unreachable") => Vec::new(),
            Err(failure) => vec![Check::new("left over", false, failure.message(), None)],
        }
    }
}

/// What the store takes; that it can't be told is no failure of its own.
async fn disk(client: &Client) -> Option<Check> {
    let stats: crate::api::Stats = client.get(&["v1", "stats"], &Query::new()).await.ok()?;
    let message = format!("{} for {} sessions", bytes(stats.disk_use), stats.sessions.total);
    Some(Check::new("disk use", true, message, None))
}

/// What belongs to nobody, and what other daemons of the engine may want.
fn orphans(removed: &[Orphan], left: &[Orphan]) -> Vec<Check> {
    let names = |shared: bool| {
        let names: Vec<&str> = left.iter().filter(|o| o.shared == shared).map(|o| o.name.as_str()).collect();
        names.join(", ")
    };
    let (own, shared) = (names(false), names(true));
    let mut checks = Vec::new();
    if !own.is_empty() {
        checks.push(Check::new("left over", false, own, Some("`wharf doctor --fix` removes it")));
    } else if removed.is_empty() {
        checks.push(Check::new("left over", true, "nothing", None));
    } else {
        let names: Vec<&str> = removed.iter().map(|orphan| orphan.name.as_str()).collect();
        checks.push(Check::new("left over", true, format!("removed {}", names.join(", ")), None));
    }
    if !shared.is_empty() {
        let message = format!("of other versions, unused: `docker volume rm {}` frees it", shared.replace(',', ""));
        checks.push(Check::new("volumes", true, message, None));
    }
    checks
}

fn daemon(health: &Value, host: &str) -> Check {
    let ours = env!("CARGO_PKG_VERSION");
    match health.get("version").and_then(Value::as_str) {
        Some(version) if version == ours => Check::new("daemon", true, format!("{version} on {host}"), None),
        Some(version) => {
            let message = format!("version {version} on {host}, and this is {ours}");
            Check::new("daemon", false, message, Some("restart the daemon: agents go on meanwhile"))
        }
        None => Check::new("daemon", false, format!("{host} does not answer as wharf does"), Some("check --host")),
    }
}

/// Of `/readyz`, whether it is well or not.
fn components(ready: &Value) -> Vec<Check> {
    let listed = ready.get("components").cloned().unwrap_or_default();
    let components: Vec<Component> = serde_json::from_value(listed).unwrap_or_default();
    if components.is_empty() && ready.get("status").and_then(Value::as_str) != Some("ready") {
        let detail = ready.get("detail").and_then(Value::as_str).unwrap_or("it does not say why");
        return vec![Check::new("ready", false, detail, None)];
    }
    let check = |c: Component| Check::new(&c.name, c.ok, c.message.unwrap_or_default(), c.fix.as_deref());
    components.into_iter().map(check).collect()
}

/// Each image once, with the agents that need it.
fn images(agents: &[AgentInfo]) -> Vec<Check> {
    let mut checks: Vec<Check> = Vec::new();
    for agent in agents {
        let name = format!("image {}", agent.image);
        if let Some(check) = checks.iter_mut().find(|check| check.name == name) {
            check.message.push_str(&format!(", {}", agent.name));
            continue;
        }
        let (ok, state) = match agent.image_present {
            Some(true) => (true, "present"),
            Some(false) => (false, "missing"),
            None => (false, "the engine can't be asked"),
        };
        let build = agent.hint.as_deref().filter(|_| agent.image_present.is_some());
        checks.push(Check::new(&name, ok, format!("{state}; for {}", agent.name), build));
    }
    checks
}

fn print(checks: &[Check], ok: bool, ui: &Ui) -> Result<(), Failure> {
    if ui.json {
        return ui.document(&json!({"ok": ok, "checks": checks}));
    }
    for check in checks {
        ui.line(&format!("{} {}: {}", if check.ok { "ok  " } else { "FAIL" }, check.name, check.message))?;
        if let Some(fix) = &check.fix {
            ui.line(&format!("     fix: {fix}"))?;
        }
    }
    ui.note(if ok { "all is well" } else { "not all is well" });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_comes_with_what_to_do() {
        let ready = json!({"code": "not_ready", "components": [
            {"name": "store", "ok": true},
            {"name": "engine", "ok": false, "message": "no socket", "fix": "start docker"}]});
        let checks = components(&ready);
        assert_eq!(checks[0], Check::new("store", true, "", None));
        assert_eq!(checks[1], Check::new("engine", false, "no socket", Some("start docker")));
        assert_eq!(components(&json!({"code": "stopping", "detail": "stops"}))[0].message, "stops");
        assert!(components(&json!({"status": "ready", "components": []})).is_empty());
        assert!(daemon(&json!({"version": env!("CARGO_PKG_VERSION")}), "h").ok);
        assert!(!daemon(&json!({"version": "0.0.0-other"}), "h").ok);
        assert!(!daemon(&json!("hello"), "h").ok);
    }

    #[test]
    fn an_image_is_named_once() {
        let agent = |name: &str, image: &str, present| AgentInfo {
            name: name.into(),
            protocol: "acp".into(),
            description: None,
            image: image.into(),
            image_present: present,
            hint: Some("make images".into()),
            in_image: None,
            version: None,
            can: crate::api::AgentAbilities::default(),
        };
        let agents = [agent("demo", "d", Some(true)), agent("a", "w", Some(false)), agent("b", "w", Some(false))];
        let checks = images(&agents);
        assert_eq!(checks.len(), 2);
        assert_eq!(checks[0], Check::new("image d", true, "present; for demo", None));
        assert_eq!(checks[1], Check::new("image w", false, "missing; for a, b", Some("make images")));
    }
}
