//! What no transcript shows.

use serde_json::{Value, json};
use wharf::agent::adapter::{Adapter, StartOptions};

use crate::script::{Feed, Player, options};

/// An ACP agent that answered `initialize` with these capabilities.
fn acp(options: &StartOptions, capabilities: &Value) -> Player {
    let mut player = Player::new("opencode", Feed::Restored);
    player.start(options);
    let result = json!({"protocolVersion": 1, "agentCapabilities": capabilities,
        "authMethods": [{"id": "login", "name": "Log in"}]});
    answer(&mut player, 1, &result);
    player
}

fn answer(player: &mut Player, id: u64, result: &Value) {
    player.receive(&json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string());
}

fn refuse(player: &mut Player, id: u64, error: &Value) {
    player.receive(&json!({"jsonrpc": "2.0", "id": id, "error": error}).to_string());
}

fn last(player: &Player) -> &str {
    player.said.last().unwrap()
}

fn text(text: &str) -> [Value; 1] {
    [json!({"type": "text", "text": text})]
}

/// Claude Code, ready.
fn claude(options: &StartOptions) -> Player {
    let mut player = Player::new("claude", Feed::Restored);
    player.start(options);
    player.receive(r#"{"type":"control_response","response":{"subtype":"success","request_id":"1","response":{}}}"#);
    player
}

#[test]
fn an_agent_that_cannot_resume_says_so_and_never_links() {
    let player = acp(&options(Some("s")), &json!({}));
    assert_eq!(last(&player), "resume failed: this agent can't take an earlier conversation up again");
    let mut player = acp(&options(None), &json!({}));
    answer(&mut player, 2, &json!({"sessionId": "s"}));
    assert_eq!(last(&player), "ready");
    assert!(player.said.iter().all(|line| !line.starts_with("linked")));
}

#[test]
fn a_failed_resume_is_told_in_the_agents_words() {
    let mut player = acp(&options(Some("s")), &json!({"loadSession": true}));
    refuse(&mut player, 2, &json!({"code": -32002, "message": "no session s"}));
    assert_eq!(last(&player), "resume failed: no session s");
}

#[test]
fn a_missing_login_is_no_lost_conversation() {
    for resume in [None, Some("s")] {
        let mut player = acp(&options(resume), &json!({"loadSession": true}));
        refuse(&mut player, 2, &json!({"code": -32000, "message": "Authentication required"}));
        let expected = "fatal: the agent is not logged in: Authentication required (the agent offers: Log in); \
                        give it credentials in the session's or the agent's environment";
        assert_eq!(last(&player), expected);
    }
}

#[test]
fn model_and_mode_are_chosen_before_the_agent_is_ready() {
    let wanted = StartOptions { model: Some("m2".into()), mode: Some("plan".into()), ..options(None) };
    let opened = json!({"sessionId": "s",
        "models": {"currentModelId": "m1", "availableModels": [{"modelId": "m1"}, {"modelId": "m2"}]},
        "modes": {"currentModeId": "build", "availableModes": [{"id": "build"}, {"id": "plan"}]}});
    let mut player = acp(&wanted, &json!({"loadSession": true}));
    answer(&mut player, 2, &opened);
    assert!(last(&player).contains(r#""modelId":"m2""#), "{}", last(&player));
    assert!(last(&player).contains("session/set_model"));
    answer(&mut player, 3, &json!({}));
    assert!(last(&player).contains("session/set_mode") && last(&player).contains(r#""modeId":"plan""#));
    answer(&mut player, 4, &json!({}));
    assert!(
        player.said.contains(&r#"update {"sessionUpdate":"current_mode_update","currentModeId":"plan"}"#.to_owned())
    );
    assert_eq!(last(&player), "ready");
    let refused = player.adapter.set_model("m9").unwrap_err();
    assert_eq!(refused.0, r#"this agent has no model "m9"; it has m1, m2"#);

    let mut player = acp(&StartOptions { model: Some("m9".into()), ..options(None) }, &json!({}));
    answer(&mut player, 2, &opened);
    assert_eq!(last(&player), r#"fatal: this agent has no model "m9"; it has m1, m2"#);
    let mut player = acp(&options(None), &json!({}));
    answer(&mut player, 2, &json!({"sessionId": "s"}));
    assert_eq!(player.adapter.set_mode("plan").unwrap_err().0, "this agent has no way to choose a mode");
}

#[test]
fn cancelling_withdraws_what_waits() {
    let mut player = acp(&options(None), &json!({}));
    answer(&mut player, 2, &json!({"sessionId": "s"}));
    player.call(|adapter| adapter.prompt(&text("x")));
    let ask = json!({"jsonrpc": "2.0", "id": "q", "method": "session/request_permission", "params": {"sessionId": "s",
        "toolCall": {"toolCallId": "t"}, "options": [{"optionId": "o", "name": "n", "kind": "allow_once"}]}});
    player.receive(&ask.to_string());
    assert!(last(&player).starts_with("permission q "));
    let before = player.said.len();
    player.call(Adapter::cancel);
    assert_eq!(
        player.said[before..],
        [
            r#"send {"jsonrpc":"2.0","method":"session/cancel","params":{"sessionId":"s"}}"#,
            r#"send {"jsonrpc":"2.0","id":"q","result":{"outcome":{"outcome":"cancelled"}}}"#,
            "withdrawn q",
        ]
    );
    assert_eq!(player.call(|adapter| adapter.answer_permission("q", "o")), 0);
    refuse(&mut player, 3, &json!({"code": -32603, "message": "aborted"}));
    assert_eq!(last(&player), "turn ended: cancelled usage=- error=-");
    assert_eq!(player.call(Adapter::cancel), 0);
}

#[test]
fn what_acp_does_not_know_is_refused_and_shown() {
    let mut player = acp(&options(None), &json!({}));
    answer(&mut player, 2, &json!({"sessionId": "s"}));
    let before = player.said.len();
    player.receive(r#"{"jsonrpc":"2.0","id":7,"method":"x/y","params":{}}"#);
    player.receive(r#"{"jsonrpc":"2.0","id":8,"method":"terminal/create","params":{}}"#);
    player.receive(
        r#"{"jsonrpc":"2.0","method":"session/update","params":{"sessionId":"s","update":{"sessionUpdate":"z"}}}"#,
    );
    let refusal = |id: u64, method: &str| {
        format!(
            r#"send {{"jsonrpc":"2.0","id":{id},"error":{{"code":-32601,"message":"Method not found: {method}"}}}}"#
        )
    };
    assert_eq!(player.said[before], refusal(7, "x/y"));
    assert!(player.said[before + 1].starts_with("unparsed"));
    assert_eq!(player.said[before + 2], refusal(8, "terminal/create"));
    assert!(player.said[before + 3].starts_with("unparsed"));
}

#[test]
fn claude_gets_mcp_servers_and_mode_before_it_is_ready() {
    let wanted = StartOptions {
        mode: Some("plan".into()),
        mcp_servers: vec![json!({"name": "a", "command": "/bin/a", "args": [], "env": [{"name": "K", "value": "v"}]})],
        ..options(None)
    };
    let mut player = claude(&wanted);
    assert!(player.said[1].contains("mcp_set_servers") && player.said[1].contains(r#""env":{"K":"v"}"#));
    let succeed = |id: u8, response: Value| {
        json!({"type": "control_response", "response": {"subtype": "success", "request_id": id.to_string(),
            "response": response}})
        .to_string()
    };
    player.receive(&succeed(2, json!({"added": ["a"], "errors": {}})));
    assert_ne!(last(&player), "ready");
    player.receive(&succeed(3, json!({"mode": "plan"})));
    assert_eq!(last(&player), "ready");
    assert!(!player.adapter.state().to_string().contains("bin/a"));
    assert!(player.adapter.set_mode("nonsense").is_err());
}

fn result(fields: &Value) -> String {
    let mut result = json!({"type": "result", "subtype": "success", "is_error": false, "result": ""});
    for (key, value) in fields.as_object().unwrap() {
        result[key] = value.clone();
    }
    result.to_string()
}

#[test]
fn every_end_of_a_claude_turn() {
    for (fields, expected) in [
        (json!({"stop_reason": "max_tokens"}), "turn ended: max_tokens usage=- error=-"),
        (json!({"stop_reason": "refusal"}), "turn ended: refusal usage=- error=-"),
        (json!({"subtype": "error_max_turns", "is_error": true}), "turn ended: max_turn_requests usage=- error=-"),
        (
            json!({"is_error": true, "api_error_status": 529, "result": "API Error: 529"}),
            "turn ended: - usage=- error=API Error: 529 (Some(529))",
        ),
        (
            json!({"subtype": "error_during_execution", "is_error": true, "result": null, "errors": ["a", "b"]}),
            "turn ended: - usage=- error=a; b (None)",
        ),
    ] {
        let mut player = claude(&options(None));
        player.call(|adapter| adapter.prompt(&text("x")));
        player.receive(&result(&fields));
        assert_eq!(player.said[player.said.len() - 2], expected);
        assert!(last(&player).starts_with("linked 0199"));
    }
}

#[test]
fn only_the_result_of_the_prompt_itself_ends_its_turn() {
    let mut player = claude(&options(None));
    player.call(|adapter| adapter.prompt(&text("x")));
    let sent: Value = serde_json::from_str(last(&player).strip_prefix("send ").unwrap()).unwrap();
    let state =
        |state: &str| json!({"type": "command_lifecycle", "command_uuid": sent["uuid"], "state": state}).to_string();
    player.receive(&state("queued"));
    player.receive(&result(&json!({})));
    assert!(player.said.iter().all(|line| !line.starts_with("turn ended")));
    player.receive(&state("started"));
    player.receive(&result(&json!({"result": "said by a command"})));
    assert_eq!(player.said[player.said.len() - 2], "turn ended: end_turn usage=- error=-");
    assert!(player.said[player.said.len() - 3].contains("said by a command"));
    player.receive(&state("completed"));
    // The next prompt has an id of its own; one that is dropped ends its turn too.
    player.call(|adapter| adapter.prompt(&text("y")));
    let next: Value = serde_json::from_str(last(&player).strip_prefix("send ").unwrap()).unwrap();
    assert_ne!(sent["uuid"], next["uuid"]);
    let dropped = json!({"type": "command_lifecycle", "command_uuid": next["uuid"], "state": "completed"}).to_string();
    player.receive(&dropped);
    assert!(last(&player).contains("put the prompt aside"));
}

#[test]
fn claude_links_once_its_clock_shows_that_the_transcript_is_written() {
    let mut player = claude(&options(None));
    player.call(|adapter| adapter.prompt(&text("x")));
    let at =
        |time: &str| json!({"type": "assistant", "timestamp": time, "message": {"id": "m", "content": []}}).to_string();
    player.receive(&at("2026-11-21T10:00:00.000Z"));
    player.receive(&at("2026-11-21T10:00:00.999Z"));
    assert!(player.said.iter().all(|line| !line.starts_with("linked")));
    player.receive(&at("2026-11-21T10:00:01.000Z"));
    assert!(last(&player).starts_with("linked 0199"));
}

#[test]
fn claude_shows_changes_plans_and_sub_agents() {
    let mut player = claude(&options(None));
    player.call(|adapter| adapter.prompt(&text("x")));
    let before = player.said.len();
    let uses = |id: &str, name: &str, input: Value| {
        json!({"type": "assistant", "message": {"id": "m", "content": [{"type": "tool_use", "id": id, "name": name,
            "input": input}]}})
        .to_string()
    };
    let done = |id: &str, details: Value| {
        json!({"type": "user", "message": {"content": [{"type": "tool_result", "tool_use_id": id, "content": "ok"}]},
            "tool_use_result": details})
        .to_string()
    };
    player.receive(&uses("e", "Edit", json!({"file_path": "/a", "old_string": "x", "new_string": "y"})));
    player.receive(&done("e", json!({"originalFile": "z".repeat(100_000)})));
    player.receive(&uses("w", "TodoWrite", json!({"todos": [{"content": "a", "status": "in_progress"}]})));
    player.receive(&uses("c", "TaskCreate", json!({"subject": "b", "description": "d"})));
    player.receive(&done("c", json!({"task": {"id": "1", "subject": "b"}})));
    player.receive(&uses("u", "TaskUpdate", json!({"taskId": "1", "status": "completed"})));
    player.receive(&done("u", json!({"success": true})));
    let sub = json!({"type": "assistant", "parent_tool_use_id": "t", "message": {"id": "s", "content": [
        {"type": "text", "text": "from below"}]}});
    player.receive(&sub.to_string());
    insta::with_settings!({prepend_module_to_snapshot => false, omit_expression => true}, {
        insta::assert_snapshot!("claude-tools", player.said[before..].join("\n"));
    });
}

#[test]
fn claude_tells_its_models_and_why_it_waits() {
    let mut player = Player::new("claude", Feed::Restored);
    player.start(&options(None));
    let models = json!([{"value": "default", "displayName": "Default"}, {"value": "opus", "displayName": "Opus"}]);
    let answer = |id: &str, response: Value| {
        json!({"type": "control_response", "response": {"subtype": "success", "request_id": id, "response": response}})
            .to_string()
    };
    let told = |player: &Player| -> Value {
        let line = player.said.iter().rev().find(|line| line.contains("config_option_update")).unwrap();
        serde_json::from_str(line.strip_prefix("update ").unwrap()).unwrap()
    };
    player.receive(&answer("1", json!({"models": models})));
    assert_eq!(told(&player)["configOptions"][0]["currentValue"], "default");
    player.call(|adapter| adapter.set_model("new-one").unwrap());
    player.receive(&answer("2", json!({})));
    let options = json!([{"value": "default", "name": "Default"}, {"value": "opus", "name": "Opus"},
        {"value": "new-one", "name": "new-one"}]);
    assert_eq!(told(&player)["configOptions"][0]["currentValue"], "new-one");
    assert_eq!(told(&player)["configOptions"][0]["options"], options);
    let retry = json!({"type": "system", "subtype": "api_retry", "attempt": 2, "max_retries": 10,
        "retry_delay_ms": 1250.5, "error_status": 529, "error": "overloaded"});
    player.receive(&retry.to_string());
    assert!(last(&player).contains("The model's API failed (529 overloaded); attempt 2 of 10 follows in 1.3 s."));
    player.receive(r#"{"subtype":"compact_boundary","type":"system"}"#);
    assert!(last(&player).contains("agent_thought_chunk") && last(&player).contains("compacted"));
}

#[test]
fn what_claude_asks_twice_under_one_id_is_never_allowed_by_the_answer_to_the_first() {
    let mut player = claude(&options(None));
    player.call(|adapter| adapter.prompt(&text("x")));
    let ask = |command: &str| {
        json!({"type": "control_request", "request_id": "r", "request": {"subtype": "can_use_tool",
            "tool_name": "Bash", "input": {"command": command}}})
        .to_string()
    };
    player.receive(&ask("ls"));
    player.receive(&ask("rm -rf /"));
    assert!(last(&player).starts_with("unparsed"), "{}", last(&player));
    player.call(|adapter| adapter.answer_permission("r", "allow_once"));
    assert!(last(&player).contains("ls") && !last(&player).contains("rm -rf"), "{}", last(&player));
}
