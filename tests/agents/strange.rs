//! Agents that are not as they should be: what they say is kept, and what they die of is told.

use serde_json::{Value, json};

use crate::agents::Agent;
use crate::scene::{Session, Stage};

/// Agents of the configuration beside the table's.
pub const CONFIG: &str = r#"
[agents.talkative]
image = "wharf/demo:latest"
argv = ["/bin/sh", "-c", '''
echo '{"jsonrpc":"2.0","method":"session/weather","params":{"sky":"grey"}}'
echo 'Welcome! You have 3 new messages.'
exec /bin/wharf-demo-agent''']

[agents.broken]
image = "wharf/demo:latest"
argv = ["/bin/sh", "-c", "echo reading the configuration >&2; echo no such model >&2; exit 3"]
"#;

const fn agent(name: &'static str) -> Agent {
    Agent { name, ..crate::agents::DEMO }
}

static TALKATIVE: Agent = agent("talkative");
static BROKEN: Agent = agent("broken");

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_understood_is_kept() {
    let stage = Stage::shared().await;
    let mut session = Session::new(&stage, &TALKATIVE, json!({})).await;
    assert_eq!(session.answer("say hello").await, "hello");
    let log = session.log().await;
    let kept: Vec<&Value> = log.iter().filter(|e| e["type"] == "agent.unparsed").map(|e| &e["data"]["line"]).collect();
    let said = r#"{"jsonrpc":"2.0","method":"session/weather","params":{"sky":"grey"}}"#;
    assert_eq!(kept, [&json!(said), &json!("Welcome! You have 3 new messages.")]);
    session.client.delete(&format!("/v1/sessions/{}", session.id)).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_does_not_start_is_left_alone_after_three_times() {
    let stage = Stage::shared().await;
    let mut session = Session::new(&stage, &BROKEN, json!({})).await;
    let n = session.prompt("say hello").await;
    session.events.until(|e| e.kind() == "session.status" && e.json["data"]["status"] == "error").await;
    let view = session.view().await;
    let told = view["error"]["message"].as_str().expect("a message");
    assert!(told.contains("code 3") && told.contains("3 times within a minute"), "{told}");
    assert!(told.contains("no such model") && told.contains("restore"), "{told}");
    let log = session.log().await;
    let exits: Vec<&Value> = log.iter().filter(|e| e["type"] == "agent.exited").map(|e| &e["data"]).collect();
    assert_eq!(exits.len(), 3);
    for exit in exits {
        assert_eq!((&exit["code"], &exit["signal"]), (&json!(3), &json!(null)), "{exit}");
        let tail = exit["stderr"].as_str().expect("a text");
        assert!(tail.contains("reading the configuration\nno such model"), "{tail}");
    }
    // It was given to nobody, so it can still be withdrawn.
    let prompt = session.client.delete(&format!("/v1/sessions/{}/prompts/{n}", session.id)).await.expect(200);
    assert_eq!(prompt["state"], "cancelled", "{prompt}");
    session.close().await;
}
