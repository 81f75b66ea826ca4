//! Agents that open things and never close them.

use serde_json::{Value, json};

use crate::{
    fuzz::LARGEST_STATE,
    script::{Feed, Player, options},
};

#[test]
fn an_endless_claude_does_not_make_the_state_grow() {
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
}

#[test]
fn an_endless_acp_agent_does_not_make_the_state_grow() {
    let long = "x".repeat(1000);
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

#[test]
fn an_endless_codex_does_not_make_the_state_grow() {
    let long = "x".repeat(1000);
    let mut player = Player::new("codex", Feed::Lines);
    player.start(&options(None));
    player.receive(r#"{"id":1,"result":{}}"#);
    player.receive(r#"{"id":2,"result":{}}"#);
    player.receive(r#"{"id":3,"result":{"thread":{"id":"T"},"model":"m"}}"#);
    player.call(|adapter| adapter.prompt(&[json!({"type": "text", "text": "x"})]));
    let profile = json!({"network": {"x": "y".repeat(7000)}});
    for n in 0..2000 {
        let lines = [
            json!({"method": "turn/started", "params": {"threadId": format!("S{n}"), "turn": {"id": long}}}),
            json!({"method": "turn/started", "params": {"threadId": format!("S{n}"), "turn": {"id": "V"}}}),
            json!({"method": "item/agentMessage/delta", "params": {"itemId": format!("i{n}"), "delta": long}}),
            json!({"method": "item/started", "params": {"item": {"type": "fileChange", "id": format!("f{n}"),
                "changes": [{"path": long, "kind": {"type": "add"}, "diff": long}]}}}),
            json!({"method": "item/started", "params": {"item": {"type": "mcpToolCall", "id": format!("t{n}"),
                "server": long, "tool": long, "arguments": long}}}),
            json!({"id": format!("p{n}"), "method": "item/permissions/requestApproval",
                "params": {"permissions": if n < 10 { &profile } else { &Value::Null }}}),
            json!({"method": "error", "params": {"error": {"message": long.repeat(50)}, "willRetry": false}}),
        ];
        for line in lines {
            player.receive(&line.to_string());
        }
    }
    let size = player.adapter.state().to_string().len();
    assert!(size < LARGEST_STATE, "{size}");
}
