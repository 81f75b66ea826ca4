//! What is said and done in turns that end well.

use serde_json::{Value, json};

use crate::agents::Agent;
use crate::scene::{Session, Stage};

pub async fn a_turn(agent: &'static Agent) {
    let stage = Stage::shared().await;
    let mut session = Session::free(&stage, agent).await;
    let text = format!("say {} says ä€😀 and that is all", agent.name);
    let n = session.prompt(&text).await;
    let (answer, end) = session.events.turn(n).await;
    assert_eq!(answer, text.strip_prefix("say ").expect("a verb"));
    assert_eq!((&end["status"], &end["stop_reason"]), (&json!("done"), &json!("end_turn")));
    assert!(end["usage"]["totalTokens"].as_u64().is_some_and(|n| n > 0), "{end}");
    let view = session.view().await;
    assert_eq!(view["status"], "idle");
    assert!(view["agent_session_id"].as_str().is_some_and(|id| !id.is_empty()), "{view}");
    if agent.real {
        let asked = session.asked(&stage, &text);
        assert_eq!(asked.len(), 1, "asked once: {asked:?}");
        assert_eq!((&asked[0]["api"], &asked[0]["turns"]), (&json!(agent.api), &json!(1)));
    }
    let thought = format!("think {}", agent.name);
    let n = session.prompt(&thought).await;
    session.events.until(|e| e.json["data"]["sessionUpdate"] == "agent_thought_chunk").await;
    assert_eq!(session.events.turn(n).await.0, agent.name);
    session.close().await;
}

pub async fn a_tool_call(agent: &'static Agent) {
    let stage = Stage::shared().await;
    let mut session = Session::free(&stage, agent).await;
    let n = session.prompt("run echo made > made && cat made && pwd").await;
    let (updates, text) = updates(&mut session, n).await;
    assert!(text.contains("made") && text.contains("/workspace"), "{text}");
    assert!(session.has("/workspace/made").await);
    let at = |key: &str, value: &str| {
        let found = updates.iter().position(|update| update[key] == value);
        found.unwrap_or_else(|| panic!("no {key} {value} in {updates:#?}"))
    };
    let (call, done) = (at("sessionUpdate", "tool_call"), at("status", "completed"));
    assert_eq!(updates[call]["kind"], "execute", "{:#}", updates[call]);
    assert_eq!(updates[call]["toolCallId"], updates[done]["toolCallId"]);
    assert!(output(&updates).contains("made"), "{:#}", updates[done]);
    let spoke = at("sessionUpdate", "agent_message_chunk");
    assert!(call < done && done < spoke, "{updates:#?}");
    session.close().await;
}

/// The updates of a turn, and the agent's text.
async fn updates(session: &mut Session, n: u64) -> (Vec<Value>, String) {
    let mut updates = Vec::new();
    let mut text = String::new();
    let end = session.events.until(|e| {
        if e.kind() == "update" && e.json["turn"] == format!("turn_{n}") {
            updates.push(e.json["data"].clone());
            text.push_str(e.chunk().unwrap_or_default());
        }
        e.kind() == "turn.ended" && e.json["data"]["prompt"] == n
    });
    let end = end.await.json["data"].clone();
    assert_eq!((&end["status"], &end["stop_reason"]), (&json!("done"), &json!("end_turn")), "{end}");
    (updates, text)
}

/// The longest output that a tool call of these updates shows.
fn output(updates: &[Value]) -> String {
    let contents = updates.iter().filter_map(|update| update["content"].as_array()).flatten();
    let texts = contents.filter_map(|content| content["content"]["text"].as_str());
    texts.max_by_key(|text| text.len()).unwrap_or_default().to_owned()
}

pub async fn a_second_prompt_is_queued(agent: &'static Agent) {
    let stage = Stage::shared().await;
    let mut session = Session::free(&stage, agent).await;
    let first = session.begin("slow 10").await;
    let second = session.prompt("say second").await;
    let busy = json!({ "content": "say no", "when_busy": "reject" });
    assert_eq!(session.post("prompts", busy).await.problem(409), "session_busy");
    let mut order = Vec::new();
    session
        .events
        .until(|e| {
            let turn = e.json["turn"].as_str().unwrap_or_default().to_owned();
            if matches!(e.kind(), "turn.started" | "turn.ended") {
                order.push(format!("{} {turn}", e.kind()));
            } else if let Some(chunk) = e.chunk() {
                order.push(format!("{chunk}{turn}"));
            }
            e.kind() == "turn.ended" && e.json["data"]["prompt"] == second
        })
        .await;
    let mut expected: Vec<String> = (2..=10).map(|n| format!("chunk {n} turn_{first}")).collect();
    expected.push(format!("turn.ended turn_{first}"));
    expected.push(format!("turn.started turn_{second}"));
    expected.push(format!("secondturn_{second}"));
    expected.push(format!("turn.ended turn_{second}"));
    assert_eq!(order, expected);
    assert_eq!(session.turns().await, 3);
    session.close().await;
}

pub async fn another_model(agent: &'static Agent) {
    let stage = Stage::shared().await;
    let made = json!({ "model": agent.models[0], "permissions": "allow" });
    let mut session = Session::new(&stage, agent, made).await;
    let word = format!("say first-{}", agent.name);
    assert_eq!(session.answer("model?").await, agent.wire[0]);
    session.answer(&word).await;
    let running = session.begin("slow 10").await;
    let path = format!("/v1/sessions/{}", session.id);
    let changed = session.client.patch(&path, json!({ "model": agent.models[1] })).await.expect(200);
    assert_eq!(changed["model"], agent.models[1]);
    let (rest, end) = session.events.turn(running).await;
    assert!(rest.ends_with("chunk 10 ") && end["status"] == "done", "the running turn goes on: {rest} {end}");
    assert_eq!(session.answer("model?").await, agent.wire[1]);
    let other = format!("say second-{}", agent.name);
    session.answer(&other).await;
    if agent.real {
        for (text, model) in [(word, agent.wire[0]), (other, agent.wire[1])] {
            let asked = session.asked(&stage, &text);
            assert!(!asked.is_empty() && asked.iter().all(|ask| ask["model"] == model), "{asked:?}");
        }
    }
    session.close().await;
}

pub async fn a_large_prompt(agent: &'static Agent) {
    let stage = Stage::shared().await;
    let mut session = Session::free(&stage, agent).await;
    // A megabyte of words: nothing in it can be told from the next by a length alone. No more than that: Codex takes
    // 1,048,576 characters.
    let words: String = (0..104_000).map(|n| format!(" {n:08}x")).collect();
    let text = format!("length{words}");
    assert!(text.len() > 1_000_000);
    assert_eq!(session.answer(&text).await, format!("length={}", text.len()), "it came whole");
    assert_eq!(session.answer("say after").await, "after");
    session.close().await;
}

pub async fn a_large_output(agent: &'static Agent) {
    let stage = Stage::shared().await;
    let mut session = Session::free(&stage, agent).await;
    let n = session.prompt("run yes 0123456789abcde | head -c 5000000").await;
    let (updates, _) = updates(&mut session, n).await;
    let shown = output(&updates);
    assert!(shown.len() >= agent.shows && shown.contains("0123456789abcde\n"), "{} bytes", shown.len());
    assert_eq!(session.answer("say after").await, "after");
    session.close().await;
}
