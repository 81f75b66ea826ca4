//! How long a session takes to start: cold beside the engine's own create and start, warm beside the agent itself.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    bare::Program,
    memory,
    report::{Report, Row, Stat, Unit},
    support::{Client, Daemon, docker_ok},
    twin::Twins,
};

const MIB: f64 = 1024.0 * 1024.0;

/// Sessions in workspaces of their own and in one that runs, `n` each, interleaved with their raw limits.
pub async fn measure(report: &mut Report, daemon: &Daemon, program: &Program, dir: &Path, n: usize) {
    let client = daemon.client();
    // The first one fills tether's volume and shows what a workspace's container is made of.
    let first = client.demo("bench:first").await;
    client.post(&format!("/v1/sessions/{first}/restore"), json!({})).await.expect(200);
    let container = daemon.containers().pop().expect("the first session's container");
    let mut twins = Twins::of(&container, dir).expect("an engine");
    tether(report, &container);

    cold(report, &client, program, &mut twins, n).await;
    let workspace = client.session(&first).await["workspace"].clone();
    warm(report, &client, program, &workspace, n * 2).await;
    client.delete(&format!("/v1/sessions/{first}")).await.expect(200);
}

fn tether(report: &mut Report, container: &str) {
    #[expect(clippy::cast_precision_loss, reason = "a program is far below 2^52 bytes")]
    let size = wharf::embedded::TETHER.len() as f64 / MIB;
    report.add(Row::new("tether: program", Unit::MiB, Stat::of([size])).below(2.0));
    let pid = docker_ok(&["container", "inspect", "--format", "{{.State.Pid}}", container]);
    report.add(Row::new("tether: resident, one session", Unit::MiB, memory::resident(&pid)).below(4.0));
}

async fn cold(report: &mut Report, client: &Client, program: &Program, twins: &mut Twins, n: usize) {
    let (mut engine, mut ready, mut answered, mut agent) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..n {
        engine.push(twins.time().await.expect("a twin"));
        ready.push(until_ready(client, json!({ "agent": "demo" })).await);
        answered.push(until_answered(client).await);
        agent.push(handshake(program));
    }
    let (engine, agent) = (Stat::millis(&engine), Stat::millis(&agent));
    let limit = "engine: create + start of an equal container";
    report.add(
        Row::new("cold start: POST → agent ready", Unit::Ms, Stat::millis(&ready))
            .beside(limit, engine)
            .at_most_times(1.15),
    );
    report.add(
        Row::new("cold start: POST → first prompt's end", Unit::Ms, Stat::millis(&answered)).beside(limit, engine),
    );
    report.add(Row::new("of it: the agent's own start, bare", Unit::Ms, agent).beside(limit, engine));
}

async fn warm(report: &mut Report, client: &Client, program: &Program, workspace: &Value, n: usize) {
    let (mut bare, mut ready) = (Vec::new(), Vec::new());
    for _ in 0..n {
        bare.push(handshake(program));
        ready.push(until_ready(client, json!({ "agent": "demo", "workspace": workspace })).await);
    }
    report.add(
        Row::new("warm start: POST → agent ready", Unit::Ms, Stat::millis(&ready))
            .beside("the agent on a bare pipe, to its end of handshake", Stat::millis(&bare))
            .at_most_more(10.0),
    );
}

/// The agent alone, from its start to where it takes a prompt.
fn handshake(program: &Program) -> Duration {
    let begun = Instant::now();
    let agent = program.start().expect("the agent starts");
    let took = begun.elapsed();
    drop(agent);
    took
}

async fn until_ready(client: &Client, body: Value) -> Duration {
    let begun = Instant::now();
    let session = client.post("/v1/sessions", body).await.expect(201);
    let id = session["id"].as_str().expect("an id");
    client.post(&format!("/v1/sessions/{id}/restore"), json!({})).await.expect(200);
    let took = begun.elapsed();
    client.delete(&format!("/v1/sessions/{id}")).await.expect(200);
    took
}

async fn until_answered(client: &Client) -> Duration {
    let begun = Instant::now();
    let session = client.post("/v1/sessions", json!({ "agent": "demo", "prompt": "echo hello" })).await.expect(201);
    let id = session["id"].as_str().expect("an id");
    let (text, _) = client.events(id, 0).await.turn(1).await;
    let took = begun.elapsed();
    assert_eq!(text, "hello");
    client.delete(&format!("/v1/sessions/{id}")).await.expect(200);
    took
}
