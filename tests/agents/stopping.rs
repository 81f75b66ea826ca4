//! Cancel: the turn ends, what was born in it is gone, and all else lives on.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::agents::Agent;
use crate::scene::{Session, Stage};
use crate::support::{so, until};

/// Cancels a turn, and waits for its end.
async fn cancel(session: &mut Session, n: u64) {
    let began = Instant::now();
    let cancelled = session.post("cancel", json!({})).await.expect(200);
    assert_eq!(cancelled["turn"], format!("turn_{n}"));
    let (_, end) = session.events.turn(n).await;
    assert_eq!((&end["status"], &end["stop_reason"]), (&json!("cancelled"), &json!("cancelled")), "{end}");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

pub async fn cancel_while_streaming(agent: &'static Agent) {
    let stage = Stage::shared().await;
    let mut session = Session::free(&stage, agent).await;
    // A length that no other session asks for.
    let text = format!("slow {}", 1000 + agent.name.len());
    let n = session.begin(&text).await;
    cancel(&mut session, n).await;
    if agent.real {
        let asked = session.asked(&stage, &text);
        until("the agent's leaving the model", async || {
            let left = |line: &Value| line["n"] == asked[0]["n"] && line["event"] == "disconnect";
            so(stage.model.log().iter().any(left), "it still listens")
        })
        .await;
    }
    assert_eq!(session.answer("say after").await, "after");
    assert_eq!(session.turns().await, 3);
    session.close().await;
}

/// An MCP server that does no more than to be there.
const MCP: &str = "
import json, sys
for line in sys.stdin:
    ask = json.loads(line)
    if 'id' in ask:
        own = {'initialize': {'protocolVersion': '2025-06-18', 'capabilities': {'tools': {}},
                              'serverInfo': {'name': 'probe', 'version': '1'}},
               'tools/list': {'tools': []}}
        print(json.dumps({'jsonrpc': '2.0', 'id': ask['id'], 'result': own.get(ask['method'], {})}), flush=True)
";

fn mcp() -> Value {
    json!([{"name": "probe", "command": "python3", "args": ["-c", MCP], "env": []}])
}

pub async fn cancel_inside_a_tool(agent: &'static Agent) {
    let stage = Stage::shared().await;
    let mut made = json!({ "permissions": "allow" });
    if agent.real {
        made["mcp_servers"] = mcp();
    }
    let mut session = Session::new(&stage, agent, made).await;
    // The demo agent runs no MCP servers: what an earlier turn left running stands in for one.
    let survivor = if agent.real { "^python3 -c" } else { "^sleep 602" };
    session.answer(if agent.real { "say ready" } else { "run setsid sleep 602 >/dev/null 2>&1 &" }).await;
    session.until_processes(survivor, 1).await;
    let lives = session.processes(survivor).await;
    // One process that the tool waits for, and one that has made itself independent.
    let n = session.prompt("run setsid sleep 601 & sleep 600").await;
    session.until_processes("^sleep 60[01]", 2).await;
    cancel(&mut session, n).await;
    assert_eq!(session.processes("^sleep 60[01]").await, Vec::<String>::new(), "nothing of the tool is left");
    assert_eq!(session.processes(survivor).await, lives, "the same process lives on");
    assert_eq!(session.answer("say after").await, "after");
    assert_eq!(session.processes(survivor).await, lives);
    session.close().await;
}
