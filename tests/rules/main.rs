//! The rules of sessions and workspaces, a test for each, named after its rule; what needs no daemon is tested beside
//! the code (`session/state/tests/rules.rs`).

#[path = "../store_common/mod.rs"]
mod store_common;
#[path = "../support/mod.rs"]
mod support;

mod busy;
mod caps;
mod clock;
mod close;
mod delivery;
mod dirty;
mod errors;
mod idle;
mod keys;
mod memory;
mod queue;
mod recovery;
mod retention;
mod store;
mod stuck;
mod table;
mod world;

use serde_json::{Value, json};
use support::{Client, Daemon};

/// The configuration of an agent that is the demo agent, but for lines that one of these shell cases takes.
fn demo_but(name: &str, cases: &str) -> String {
    format!(
        r#"
[agents.{name}]
image = "wharf/demo:latest"
argv = ["/bin/sh", "-c", '''
mkfifo /tmp/in-$$; /bin/wharf-demo-agent < /tmp/in-$$ & exec 9> /tmp/in-$$
while IFS= read -r line; do
  case "$line" in
    {cases}
    *) printf '%s\n' "$line" >&9 ;;
  esac
done''']
"#
    )
}

/// The states of a session's prompts, oldest first.
async fn states(client: &Client, id: &str) -> Vec<Value> {
    let page = client.get(&format!("/v1/sessions/{id}/prompts?limit=1000")).await.expect(200);
    page["items"].as_array().expect("a list").iter().map(|p| json!([p["id"], p["state"]])).collect()
}

/// A session's whole log.
async fn log(client: &Client, id: &str) -> Vec<Value> {
    let page = client.get(&format!("/v1/sessions/{id}/events?limit=1000")).await.expect(200);
    page["items"].as_array().expect("a list").clone()
}

/// How many of a daemon's containers run.
fn running(daemon: &Daemon) -> usize {
    let filter = format!("label=wharf.instance={}", daemon.instance());
    support::docker_ok(&["ps", "-q", "--filter", &filter]).lines().count()
}
