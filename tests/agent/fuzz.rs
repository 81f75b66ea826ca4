//! Noise: whatever an agent says, the adapters neither panic nor grow.

use proptest::prelude::*;
use serde_json::json;

use crate::script::{Feed, Player, Recorded, capture, options, render};

const CAPTURES: [(&str, &str); 6] = [
    ("opencode", "acp-opencode-1"),
    ("opencode", "acp-opencode-2-load"),
    ("opencode", "acp-opencode-4-permission"),
    ("claude", "claude-2-control"),
    ("claude", "claude-3-interrupt-tool"),
    ("claude", "claude-3-resume-unknown"),
];

fn said_by_agent(name: &str) -> Vec<Recorded> {
    capture(name).into_iter().filter(|line| line.direction == '<').collect()
}

/// What is done to a line.
#[derive(Clone, Debug)]
enum Change {
    Keep,
    Cut(usize),
    Flip(usize, u8),
    Twice,
    Drop,
    Swap,
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        6 => Just(Change::Keep),
        1 => any::<usize>().prop_map(Change::Cut),
        2 => (any::<usize>(), any::<u8>()).prop_map(|(at, byte)| Change::Flip(at, byte)),
        1 => Just(Change::Twice),
        1 => Just(Change::Drop),
        1 => Just(Change::Swap),
    ]
}

fn feed(player: &mut Player, line: &[u8], call: u8) {
    let outputs = player.adapter.receive(line);
    for output in &outputs {
        render(output);
    }
    match call {
        0..10 => drop(player.adapter.prompt(&[json!({"type": "text", "text": "x"})])),
        10..15 => drop(player.adapter.cancel()),
        15..20 => drop(player.adapter.answer_permission("0", "once")),
        20..25 => drop(player.adapter.set_model("mock/mock-2")),
        _ => {}
    }
    let state = player.adapter.state().to_string();
    assert!(state.len() < 256 * 1024, "the state has grown to {} bytes", state.len());
    if call.is_multiple_of(16) {
        let state = serde_json::from_str(&state).unwrap();
        player.adapter = crate::script::catalogue().restore(player.agent, &state).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_transcripts(
        which in 0..CAPTURES.len(),
        changes in proptest::collection::vec((change(), any::<u8>()), 40..120),
        skip in 0..60usize,
    ) {
        let (agent, name) = CAPTURES[which];
        let mut lines = said_by_agent(name);
        let mut player = Player::new(agent, Feed::Lines);
        player.start(&options(None));
        // The start is kept, so that the damage meets every state and not the handshake only.
        let start = if agent == "claude" { 1 } else { 2 };
        for line in lines.drain(..start.min(lines.len())) {
            let line = line.text.replace("\"req_1\"", "\"1\"");
            feed(&mut player, line.as_bytes(), 255);
        }
        let mut lines = lines.into_iter().skip(skip).collect::<std::collections::VecDeque<_>>();
        for (change, call) in changes {
            let Some(line) = lines.pop_front() else { break };
            let mut bytes = line.text.clone().into_bytes();
            match change {
                Change::Keep => feed(&mut player, &bytes, call),
                Change::Cut(at) => feed(&mut player, &bytes[..at % bytes.len()], call),
                Change::Flip(at, byte) => {
                    let at = at % bytes.len();
                    bytes[at] = byte;
                    feed(&mut player, &bytes, call);
                }
                Change::Twice => {
                    feed(&mut player, &bytes, call);
                    feed(&mut player, &bytes, call);
                }
                Change::Drop => {}
                Change::Swap => {
                    if let Some(next) = lines.pop_front() {
                        lines.push_front(line);
                        lines.push_front(next);
                        let Some(next) = lines.pop_front() else { continue };
                        feed(&mut player, next.text.as_bytes(), call);
                    }
                }
            }
        }
    }

    #[test]
    fn noise(lines in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 0..60), any::<u8>()), 0..40)) {
        for agent in ["opencode", "claude"] {
            let mut player = Player::new(agent, Feed::Lines);
            player.start(&options(Some("x")));
            for (line, call) in &lines {
                feed(&mut player, line, *call);
            }
        }
    }
}

/// An agent that opens things and never closes them.
#[test]
fn an_endless_agent_does_not_make_the_state_grow() {
    let mut player = Player::new("claude", Feed::Lines);
    player.start(&options(None));
    player.receive(r#"{"type":"control_response","response":{"subtype":"success","request_id":"1","response":{}}}"#);
    player.call(|adapter| adapter.prompt(&[json!({"type": "text", "text": "x"})]));
    let long = "x".repeat(1000);
    for n in 0..2000 {
        let lines = [
            json!({"type": "stream_event", "parent_tool_use_id": format!("p{n}"),
                "event": {"type": "message_start", "message": {"id": format!("m{n}")}}}),
            json!({"type": "stream_event", "parent_tool_use_id": null, "event": {"type": "content_block_delta",
                "index": n, "delta": {"type": "text_delta", "text": long}}}),
            json!({"type": "assistant", "message": {"id": "m", "content": [{"type": "tool_use", "id": format!("t{n}"),
                "name": "TaskCreate", "input": {"subject": long}}]}}),
            json!({"type": "user", "message": {"content": [{"type": "tool_result", "tool_use_id": format!("t{}", n / 2),
                "content": ""}]}, "tool_use_result": {"task": {"id": format!("{n}")}}}),
            json!({"type": "control_request", "request_id": format!("r{n}"), "request": {"subtype": "can_use_tool",
                "tool_name": long, "input": {"command": long}, "permission_suggestions": [{"type": "addRules"}]}}),
        ];
        for line in lines {
            player.receive(&line.to_string());
        }
    }
    let size = player.adapter.state().to_string().len();
    assert!(size < 256 * 1024, "{size}");
    let mut player = Player::new("opencode", Feed::Lines);
    player.start(&options(None));
    player.receive(r#"{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":1}}"#);
    player.receive(r#"{"jsonrpc":"2.0","id":2,"result":{"sessionId":"s"}}"#);
    player.call(|adapter| adapter.prompt(&[json!({"type": "text", "text": "x"})]));
    for n in 0..2000 {
        let ask = json!({"jsonrpc": "2.0", "id": n, "method": "session/request_permission", "params": {
            "sessionId": "s", "toolCall": {"toolCallId": long}, "options": []}});
        player.receive(&ask.to_string());
    }
    let size = player.adapter.state().to_string().len();
    assert!(size < 32 * 1024, "{size}");
}
