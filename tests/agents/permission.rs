//! What an agent wants to be allowed, and the three answers.

use serde_json::{Value, json};

use crate::agents::Agent;
use crate::scene::{Session, Stage};

/// Prompts, and reads until the agent asks for its permission; the prompt's number, and the request.
async fn asked(session: &mut Session, command: &str) -> (u64, Value) {
    let n = session.prompt(&format!("ask {command}")).await;
    let asked = session.events.until_kind("permission.requested").await.json["data"].clone();
    assert!(asked["tool_call"].to_string().contains(command), "it says what it wants: {asked}");
    assert_eq!(session.view().await["status"], "waiting");
    (n, asked)
}

/// Answers by a kind of ACP's.
async fn reply(session: &Session, asked: &Value, kind: &str) {
    let route = format!("permissions/{}", asked["id"].as_str().expect("an id"));
    session.post(&route, json!({ "kind": kind })).await.expect(200);
    assert_eq!(session.post(&route, json!({ "kind": kind })).await.problem(409), "permission_stale");
}

pub async fn allowed(agent: &'static Agent) {
    let stage = Stage::shared().await;
    let mut session = Session::new(&stage, agent, json!({})).await;
    let (n, request) = asked(&mut session, "touch /workspace/allowed").await;
    assert!(!session.has("/workspace/allowed").await);
    reply(&session, &request, "allow_once").await;
    let (text, end) = session.events.turn(n).await;
    assert_eq!(end["status"], "done", "{text} {end}");
    assert!(session.has("/workspace/allowed").await, "{text}");
    let (n, request) = asked(&mut session, "touch /workspace/allowed").await;
    reply(&session, &request, "allow_once").await;
    assert_eq!(session.events.turn(n).await.1["status"], "done", "once is once");
    session.close().await;
}

pub async fn denied(agent: &'static Agent) {
    let stage = Stage::shared().await;
    let mut session = Session::new(&stage, agent, json!({})).await;
    let (n, request) = asked(&mut session, "touch /workspace/denied").await;
    reply(&session, &request, "reject_once").await;
    let (text, end) = session.events.turn(n).await;
    assert_eq!(end["status"], "done", "the turn ends by the agent's own word: {text} {end}");
    assert!(!session.has("/workspace/denied").await, "{text}");
    assert_eq!(session.answer("say after").await, "after");
    session.close().await;
}

pub async fn allowed_for_good(agent: &'static Agent) {
    let stage = Stage::shared().await;
    let mut session = Session::new(&stage, agent, json!({})).await;
    let (n, request) = asked(&mut session, "touch /workspace/always").await;
    reply(&session, &request, "allow_always").await;
    assert_eq!(session.events.turn(n).await.1["status"], "done");
    assert!(session.has("/workspace/always").await);
    let before = session.events.last();
    session.answer("ask touch /workspace/always").await;
    let log = session.log().await;
    let again = log.iter().filter(|e| e["seq"].as_u64() > Some(before) && e["type"] == "permission.requested");
    assert_eq!(again.count(), 0, "it does not ask again");
    session.close().await;
}
