//! What no transcript of Codex shows.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use wharf::{
    agent::{
        Own,
        adapter::{Adapter, StartOptions},
    },
    domain::PermissionPolicy,
};

use crate::script::{Feed, Player, catalogue, options};

static NONE: BTreeMap<String, String> = BTreeMap::new();
const NOTHING_OWN: Own<'static> = Own { workspace: &NONE, session: &NONE };

/// Codex before its thread is open; every line comes behind a restart of the daemon.
fn opening(options: &StartOptions, account: &Value) -> Player {
    let mut player = Player::new("codex", Feed::Restored);
    player.start(options);
    answer(&mut player, 1, &json!({"userAgent": "x"}));
    answer(&mut player, 2, account);
    player
}

/// Codex, ready.
fn ready(options: &StartOptions) -> Player {
    let mut player = opening(options, &json!({"account": null, "requiresOpenaiAuth": false}));
    answer(&mut player, 3, &json!({"thread": {"id": "T"}, "model": "m1"}));
    player
}

/// Codex in its first turn, `U`.
fn working() -> Player {
    let mut player = ready(&options(None));
    player.call(|adapter| adapter.prompt(&text("x")));
    answer(&mut player, 5, &json!({"turn": {"id": "U"}}));
    tell(&mut player, "turn/started", json!({"turn": {"id": "U"}}));
    player
}

fn answer(player: &mut Player, id: u64, result: &Value) {
    player.receive(&json!({"id": id, "result": result}).to_string());
}

fn refuse(player: &mut Player, id: u64, message: &str) {
    player.receive(&json!({"error": {"code": -32600, "message": message}, "id": id}).to_string());
}

fn tell(player: &mut Player, method: &str, mut params: Value) {
    params["threadId"] = json!("T");
    player.receive(&json!({"params": params, "method": method}).to_string());
}

fn complete(player: &mut Player, status: &str) {
    tell(player, "turn/completed", json!({"turn": {"id": "U", "status": status}}));
}

fn last(player: &Player) -> &str {
    player.said.last().unwrap()
}

/// What was said since a moment.
fn since(player: &Player, before: usize) -> Vec<&str> {
    player.said[before..].iter().map(String::as_str).collect()
}

/// The last line that was sent.
fn sent(player: &Player) -> Value {
    let line = player.said.iter().rev().find_map(|line| line.strip_prefix("send ")).unwrap();
    serde_json::from_str(line).unwrap()
}

fn text(text: &str) -> [Value; 1] {
    [json!({"type": "text", "text": text})]
}

fn ask_command(player: &mut Player, id: u64) {
    let params = json!({"threadId": "T", "turnId": "U", "itemId": "c", "command": "/bin/sh -lc 'rm x'", "cwd": "/w",
        "reason": "why", "commandActions": [{"type": "unknown", "command": "rm x"}]});
    let ask = json!({"method": "item/commandExecution/requestApproval", "id": id, "params": params});
    player.receive(&ask.to_string());
}

#[test]
fn the_policy_decides_what_codex_asks_for() {
    for (permissions, mode, expected) in [
        (PermissionPolicy::Allow, None, "never"),
        (PermissionPolicy::Ask, None, "untrusted"),
        (PermissionPolicy::Deny, None, "untrusted"),
        (PermissionPolicy::Allow, Some("on-request"), "on-request"),
    ] {
        let wanted = StartOptions { permissions, mode: mode.map(str::to_owned), ..options(None) };
        let player = opening(&wanted, &json!({}));
        let opened = sent(&player);
        assert_eq!(opened["method"], "thread/start");
        assert_eq!(opened["params"]["approvalPolicy"], expected);
        assert_eq!(opened["params"]["sandbox"], "danger-full-access");
    }
    let mut player = Player::new("codex", Feed::Lines);
    player.start(&StartOptions { mode: Some("plan".into()), ..options(None) });
    assert_eq!(last(&player), r#"fatal: Codex has no mode "plan"; it has untrusted, on-request, never"#);
}

#[test]
fn without_a_login_the_key_comes_from_the_environment() {
    let nobody = opening(&options(None), &json!({"account": null, "requiresOpenaiAuth": true}));
    let provider = sent(&nobody)["params"]["modelProvider"].clone();
    let launch = catalogue().get("codex").unwrap().launch(&options(None), &NOTHING_OWN, &()).unwrap();
    assert!(launch.argv.iter().any(|arg| arg.starts_with(&format!("model_providers.{}=", provider.as_str().unwrap()))));
    for account in [
        json!({"account": {"type": "chatgpt"}, "requiresOpenaiAuth": true}),
        json!({"account": null, "requiresOpenaiAuth": false}),
    ] {
        assert!(sent(&opening(&options(None), &account))["params"]["modelProvider"].is_null());
    }
}

#[test]
fn mcp_servers_go_with_the_thread_and_leave_no_trace() {
    let server = json!({"name": "a", "command": "/bin/a", "args": [], "env": [{"name": "K", "value": "s3cret"}]});
    for resume in [None, Some("T")] {
        let wanted = StartOptions { mcp_servers: vec![server.clone()], ..options(resume) };
        let player = opening(&wanted, &json!({}));
        assert_eq!(sent(&player)["params"]["config"]["mcp_servers"]["a"]["env"]["K"], "s3cret");
        assert!(!player.adapter.state().to_string().contains("s3cret"));
        let launch = catalogue().get("codex").unwrap().launch(&wanted, &NOTHING_OWN, &()).unwrap();
        assert!(!format!("{:?} {:?}", launch.argv, launch.env).contains("s3cret"));
    }
}

#[test]
fn a_thread_is_linked_once_its_first_prompt_is_on_disk() {
    let mut player = working();
    assert!(player.said.iter().all(|line| !line.starts_with("linked")));
    tell(&mut player, "item/started", json!({"item": {"type": "userMessage", "id": "p", "content": []}}));
    assert!(player.said.iter().all(|line| !line.starts_with("linked")));
    tell(&mut player, "item/completed", json!({"item": {"type": "userMessage", "id": "p", "content": []}}));
    assert_eq!(last(&player), "linked T");
    // A prompt that was refused is on no disk.
    let mut player = ready(&options(None));
    player.call(|adapter| adapter.prompt(&text("x")));
    refuse(&mut player, 5, "no");
    assert_eq!(last(&player), "turn ended: - usage=- error=no (None)");
    // One that comes to its end at the latest then.
    let mut player = working();
    complete(&mut player, "completed");
    assert_eq!(since(&player, player.said.len() - 2), ["turn ended: end_turn usage=- error=-", "linked T"]);
}

#[test]
fn model_and_mode_hold_from_the_next_turn_on() {
    let mut player = ready(&options(None));
    player.call(|adapter| adapter.set_model("m2").unwrap());
    answer(&mut player, 5, &json!({"data": [{"model": "m1", "displayName": "One"}, {"model": "h", "hidden": true}]}));
    let told: Value = serde_json::from_str(last(&player).strip_prefix("update ").unwrap()).unwrap();
    assert_eq!(told["configOptions"][0]["currentValue"], "m2");
    let one = json!([{"value": "m1", "name": "One"}, {"value": "m2", "name": "m2"}]);
    assert_eq!(told["configOptions"][0]["options"], one);
    player.call(|adapter| adapter.set_mode("never").unwrap());
    player.call(|adapter| adapter.prompt(&text("x")));
    let params = sent(&player)["params"].clone();
    assert_eq!((&params["model"], &params["approvalPolicy"]), (&json!("m2"), &json!("never")));
    answer(&mut player, 7, &json!({"turn": {"id": "U"}}));
    complete(&mut player, "completed");
    player.call(|adapter| adapter.prompt(&text("y")));
    assert!(sent(&player)["params"]["model"].is_null());
    assert!(player.adapter.set_mode("plan").is_err() && player.adapter.set_model("").is_err());
    assert!(Player::new("codex", Feed::Lines).adapter.set_model("m").is_err());
}

#[test]
fn cancelling_before_codex_knows_the_turn_is_not_lost() {
    let mut player = ready(&options(None));
    assert_eq!(player.call(Adapter::cancel), 0);
    player.call(|adapter| adapter.prompt(&text("x")));
    let before = player.said.len();
    assert_eq!(player.call(Adapter::cancel), 0);
    answer(&mut player, 5, &json!({"turn": {"id": "U"}}));
    let interrupt =
        |id: u64| format!(r#"send {{"id":{id},"method":"turn/interrupt","params":{{"threadId":"T","turnId":"U"}}}}"#);
    assert_eq!(since(&player, before), [interrupt(6)]);
    refuse(&mut player, 6, "no active turn to interrupt");
    assert_eq!(player.call(Adapter::cancel), 1);
    refuse(&mut player, 7, "no active turn to interrupt");
    tell(&mut player, "turn/started", json!({"turn": {"id": "U"}}));
    assert_eq!(last(&player), interrupt(8));
    assert_eq!(player.call(Adapter::cancel), 0);
    answer(&mut player, 8, &json!({}));
    complete(&mut player, "interrupted");
    assert_eq!(sent(&player)["method"], "thread/backgroundTerminals/clean");
    assert_eq!(player.call(Adapter::cancel), 0);
    refuse(&mut player, 9, "whatever");
    assert_eq!(since(&player, player.said.len() - 2), ["turn ended: cancelled usage=- error=-", "linked T"]);
    // Refused for ever, it is not sent for ever.
    let mut player = working();
    player.call(Adapter::cancel);
    for id in 6..60 {
        refuse(&mut player, id, "no active turn to interrupt");
    }
    assert!(player.said.iter().filter(|line| line.contains("turn/interrupt")).count() < 12);
}

#[test]
fn a_prompt_that_is_refused_while_it_is_cancelled_is_cancelled() {
    let mut player = ready(&options(None));
    player.call(|adapter| adapter.prompt(&text("x")));
    player.call(Adapter::cancel);
    refuse(&mut player, 5, "no");
    assert_eq!(last(&player), "turn ended: cancelled usage=- error=-");
}

#[test]
fn every_answer_to_a_permission_request() {
    for (option, decision) in
        [("allow_once", "accept"), ("allow_always", "acceptForSession"), ("reject_once", "decline"), ("?", "decline")]
    {
        let mut player = working();
        ask_command(&mut player, 0);
        assert!(last(&player).starts_with(r#"permission 0 {"title":"rm x","kind":"execute""#), "{}", last(&player));
        assert!(last(&player).contains(r#""text":"why""#));
        assert_eq!(player.call(|adapter| adapter.answer_permission("1", option)), 0);
        player.call(|adapter| adapter.answer_permission("0", option));
        assert_eq!(sent(&player), json!({"id": 0, "result": {"decision": decision}}));
        assert_eq!(player.call(|adapter| adapter.answer_permission("0", option)), 0);
        let before = player.said.len();
        tell(&mut player, "serverRequest/resolved", json!({"requestId": 0}));
        assert_eq!(player.said.len(), before);
    }
    let mut player = working();
    ask_command(&mut player, 0);
    tell(&mut player, "serverRequest/resolved", json!({"requestId": 0}));
    assert_eq!(last(&player), "withdrawn 0");
}

#[test]
fn other_requests_for_permissions() {
    let wide = json!({"network": {"enabled": true}, "fileSystem": null});
    for (method, params, option, expected) in [
        (
            "item/permissions/requestApproval",
            json!({"permissions": wide}),
            "allow_always",
            json!({"permissions": {"network": {"enabled": true}}, "scope": "session"}),
        ),
        (
            "item/permissions/requestApproval",
            json!({"permissions": wide}),
            "reject_once",
            json!({"permissions": {}, "scope": "turn"}),
        ),
        (
            "execCommandApproval",
            json!({"command": ["ls", "-l"]}),
            "allow_always",
            json!({"decision": "approved_for_session"}),
        ),
        (
            "applyPatchApproval",
            json!({"fileChanges": {"/a": {"type": "add"}}}),
            "allow_once",
            json!({"decision": "approved"}),
        ),
        (
            "mcpServer/elicitation/request",
            json!({"mode": "form", "serverName": "t", "requestedSchema": {"properties": {}}}),
            "allow_once",
            json!({"action": "accept", "content": {}, "_meta": null}),
        ),
    ] {
        let mut player = working();
        player.receive(&json!({"id": "a", "method": method, "params": params}).to_string());
        assert!(last(&player).starts_with("permission a "), "{}", last(&player));
        player.call(|adapter| adapter.answer_permission("a", option));
        assert_eq!(sent(&player), json!({"id": "a", "result": expected}));
    }
}

#[test]
fn cancelling_withdraws_what_waits() {
    let mut player = working();
    ask_command(&mut player, 0);
    let before = player.said.len();
    player.call(Adapter::cancel);
    let expected = [
        r#"send {"id":0,"result":{"decision":"cancel"}}"#,
        "withdrawn 0",
        r#"send {"id":6,"method":"turn/interrupt","params":{"threadId":"T","turnId":"U"}}"#,
    ];
    assert_eq!(since(&player, before), expected);
    ask_command(&mut player, 1);
    assert_eq!(last(&player), r#"send {"id":1,"result":{"decision":"cancel"}}"#);
}

#[test]
fn what_can_not_be_answered_is_refused_and_shown() {
    let mut player = working();
    for method in ["item/tool/requestUserInput", "item/tool/call", "attestation/generate", "new/thing"] {
        player.receive(&json!({"id": 3, "method": method, "params": {}}).to_string());
        assert_eq!(sent(&player)["error"]["code"], -32601);
        assert!(last(&player).starts_with("unparsed"));
    }
    let form = json!({"mode": "form", "serverName": "t", "requestedSchema": {"properties": {"name": {}}}});
    player.receive(&json!({"id": 4, "method": "mcpServer/elicitation/request", "params": form}).to_string());
    assert_eq!(sent(&player)["result"]["action"], "decline");
    for line in ["nonsense", "[]", r#"{"id":99,"result":{}}"#, r#"{"method":"new/notification","params":{}}"#, "{}"] {
        player.receive(line);
        assert_eq!(last(&player), format!("unparsed {line}"));
    }
    tell(&mut player, "item/started", json!({"item": {"type": "newItem", "id": "n"}}));
    assert!(last(&player).starts_with("unparsed"));
    let failed = json!({"name": "x", "status": "failed", "error": "no such file"});
    tell(&mut player, "mcpServer/startupStatus/updated", failed);
    assert!(last(&player).starts_with("unparsed") && last(&player).contains("no such file"));
}

#[test]
fn sub_agents_are_marked_and_stopped_too() {
    let mut player = working();
    let below = |method: &str, mut params: Value| {
        params["threadId"] = json!("S");
        json!({"method": method, "params": params}).to_string()
    };
    player.receive(&below("turn/started", json!({"turn": {"id": "V"}})));
    player.receive(&below("item/agentMessage/delta", json!({"itemId": "i", "delta": "hi"})));
    assert!(last(&player).contains(r#""_meta":{"codex":{"threadId":"S"}}"#));
    player.call(Adapter::cancel);
    assert_eq!(sent(&player)["params"], json!({"threadId": "S", "turnId": "V"}));
    let before = player.said.len();
    player.receive(&below("turn/completed", json!({"turn": {"id": "V", "status": "interrupted"}})));
    assert_eq!(player.said.len(), before);
}

#[test]
fn plans_searches_and_notices() {
    let mut player = working();
    let before = player.said.len();
    let plan = json!([{"step": "a", "status": "inProgress"}, {"step": "b", "status": "pending"}]);
    tell(&mut player, "turn/plan/updated", json!({"turnId": "U", "plan": plan}));
    let search = |status: &str| json!({"item": {"type": "webSearch", "id": "s", "query": status}});
    tell(&mut player, "item/started", search(""));
    tell(&mut player, "item/completed", search("rust"));
    tell(&mut player, "item/completed", json!({"item": {"type": "imageView", "id": "v", "path": "/a.png"}}));
    tell(&mut player, "item/completed", json!({"item": {"type": "contextCompaction", "id": "k"}}));
    let retry = json!({"message": "Reconnecting... 2/5", "additionalDetails": "unexpected status 502"});
    tell(&mut player, "error", json!({"error": retry, "willRetry": true}));
    tell(&mut player, "item/completed", json!({"item": {"type": "reasoning", "id": "r", "summary": ["a", "b"]}}));
    tell(&mut player, "item/completed", json!({"item": {"type": "agentMessage", "id": "m", "text": "whole"}}));
    insta::with_settings!({prepend_module_to_snapshot => false, omit_expression => true}, {
        insta::assert_snapshot!("codex-items", player.said[before..].join("\n"));
    });
}

#[test]
fn the_last_error_is_that_of_the_turn() {
    let mut player = working();
    let error =
        json!({"message": "exceeded", "codexErrorInfo": {"responseTooManyFailedAttempts": {"httpStatusCode": 429}}});
    tell(&mut player, "error", json!({"error": error, "willRetry": false}));
    complete(&mut player, "failed");
    assert!(player.said.contains(&"turn ended: - usage=- error=exceeded (Some(429))".to_owned()));
}
