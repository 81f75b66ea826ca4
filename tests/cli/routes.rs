//! Rule: every route has its command.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

/// The command of each operation, with the option that makes it that.
const COMMANDS: &[(&str, &str)] = &[
    ("GET /healthz", "doctor"),
    ("GET /readyz", "doctor"),
    ("GET /metrics", "stats --metrics"),
    ("GET /openapi.json", "doctor --api"),
    ("GET /v1/stats", "stats"),
    ("GET /v1/agents", "agents"),
    ("GET /v1/events", "events"),
    ("GET /v1/orphans", "doctor"),
    ("DELETE /v1/orphans", "doctor --fix"),
    ("GET /v1/tokens", "token ls"),
    ("POST /v1/tokens", "token create"),
    ("DELETE /v1/tokens/{name}", "token rm"),
    ("POST /v1/tokens/{name}/rotate", "token rotate"),
    ("GET /v1/sessions", "ls"),
    ("POST /v1/sessions", "new"),
    ("POST /v1/sessions/recreate", "recreate --all"),
    ("GET /v1/sessions/{id}", "show"),
    ("PATCH /v1/sessions/{id}", "set"),
    ("DELETE /v1/sessions/{id}", "rm"),
    ("POST /v1/sessions/{id}/cancel", "cancel"),
    ("POST /v1/sessions/{id}/restore", "restore"),
    ("POST /v1/sessions/{id}/reset", "reset"),
    ("POST /v1/sessions/{id}/recreate", "recreate"),
    ("GET /v1/sessions/{id}/events", "logs --follow"),
    ("GET /v1/sessions/{id}/prompts", "prompts"),
    ("POST /v1/sessions/{id}/prompts", "send"),
    ("DELETE /v1/sessions/{id}/prompts/{n}", "prompts --withdraw"),
    ("GET /v1/sessions/{id}/permissions", "approve"),
    ("POST /v1/sessions/{id}/permissions/{pid}", "approve --allow"),
    ("GET /v1/workspaces", "workspaces ls"),
    ("POST /v1/workspaces", "workspaces create"),
    ("GET /v1/workspaces/{id}", "workspaces show"),
    ("DELETE /v1/workspaces/{id}", "workspaces rm"),
    ("POST /v1/workspaces/{id}/start", "workspaces start"),
    ("POST /v1/workspaces/{id}/stop", "workspaces stop"),
    ("POST /v1/workspaces/{id}/recreate", "workspaces recreate"),
    ("GET /v1/workspaces/{id}/logs", "workspaces logs"),
    ("GET /v1/workspaces/{id}/files", "workspaces get"),
    ("PUT /v1/workspaces/{id}/files", "workspaces put"),
    ("GET /v1/workspaces/{id}/terminals", "shell --list"),
    ("POST /v1/workspaces/{id}/terminals", "shell"),
    ("GET /v1/workspaces/{id}/terminals/{tid}", "shell --attach"),
    ("DELETE /v1/workspaces/{id}/terminals/{tid}", "shell --end"),
];

#[test]
fn every_route_has_its_command() {
    let description: Value = serde_json::from_str(&wharf::api::description()).expect("JSON");
    let mut routes = BTreeSet::new();
    for (path, item) in description["paths"].as_object().expect("paths") {
        let methods = item.as_object().expect("an item").keys().filter(|key| key.as_str() != "parameters");
        routes.extend(methods.map(|method| format!("{} {path}", method.to_uppercase())));
    }
    let listed: BTreeSet<String> = COMMANDS.iter().map(|(route, _)| (*route).to_owned()).collect();
    assert_eq!(routes, listed, "routes without a command, or commands without a route");
    for (route, command) in COMMANDS {
        let (words, options): (Vec<&str>, Vec<&str>) = command.split(' ').partition(|word| !word.starts_with("--"));
        let help = Command::new(env!("CARGO_BIN_EXE_wharf")).args(&words).arg("--help").output().expect("it runs");
        let page = String::from_utf8_lossy(&help.stdout).into_owned();
        let usage = format!("Usage: wharf {}", words.join(" "));
        assert!(help.status.success() && page.contains(&usage), "{route}: there is no `wharf {command}`: {page}");
        for option in options {
            assert!(page.contains(option), "{route}: `wharf {}` has no {option}: {page}", words.join(" "));
        }
    }
}
