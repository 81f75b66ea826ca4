//! What holds for every adapter alike: no cut breaks a text, and nothing that is not understood is lost.

use serde_json::{Value, json};
use wharf::agent::adapter::Output;
use wharf::agent::lines::Lines;

use crate::script::{Feed, Player, options};

/// Many scripts, and what JSON escapes.
const TEXT: &str = "aé漢🎉\u{301} \\u00e9 \"\n";

/// Every agent in the middle of a turn, with a line in which it says something.
fn speaking(text: &str) -> Vec<(Player, Value)> {
    let acp = [
        r#"{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":1}}"#,
        r#"{"jsonrpc":"2.0","id":2,"result":{"sessionId":"s"}}"#,
    ];
    let acp_line = json!({"jsonrpc": "2.0", "method": "session/update", "params": {"sessionId": "s", "update": {
        "sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": text}}}});
    let claude = [r#"{"type":"control_response","response":{"subtype":"success","request_id":"1","response":{}}}"#];
    let claude_line = json!({"type": "stream_event", "parent_tool_use_id": null, "event": {
        "type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}});
    let codex = [
        r#"{"id":1,"result":{}}"#,
        r#"{"id":2,"result":{}}"#,
        r#"{"id":3,"result":{"thread":{"id":"T"},"model":"m"}}"#,
    ];
    let codex_line =
        json!({"method": "item/agentMessage/delta", "params": {"threadId": "T", "itemId": "i", "delta": text}});
    [
        ("demo", &acp[..], acp_line.clone()),
        ("opencode", &acp[..], acp_line),
        ("claude", &claude[..], claude_line),
        ("codex", &codex[..], codex_line),
    ]
    .into_iter()
    .map(|(agent, handshake, line)| {
        let mut player = Player::new(agent, Feed::Lines);
        player.start(&options(None));
        handshake.iter().for_each(|line| player.receive(line));
        player.call(|adapter| adapter.prompt(&[json!({"type": "text", "text": "x"})]));
        (player, line)
    })
    .collect()
}

/// The text of the messages among these.
fn said(outputs: &[Output]) -> String {
    let text = |output: &Output| match output {
        Output::Update(update) => {
            let update: Value = serde_json::from_str(update.get()).expect("JSON");
            (update["sessionUpdate"] == "agent_message_chunk")
                .then(|| update["content"]["text"].as_str().map(str::to_owned))?
        }
        _ => None,
    };
    outputs.iter().filter_map(text).collect()
}

#[test]
fn a_multibyte_text_survives_every_cut() {
    let lengths: Vec<usize> = speaking(TEXT).iter().map(|(_, line)| line.to_string().len() + 1).collect();
    for cut in 0..=*lengths.iter().max().expect("agents") {
        for (mut player, line) in speaking(TEXT) {
            let bytes = line.to_string() + "\n";
            let cut = cut.min(bytes.len());
            let mut lines = Lines::new(0);
            let mut outputs = Vec::new();
            for piece in [&bytes.as_bytes()[..cut], &bytes.as_bytes()[cut..]] {
                for line in lines.push(piece) {
                    outputs.extend(player.adapter.receive(&line.bytes));
                }
            }
            assert_eq!(said(&outputs), TEXT, "cut at {cut} of {bytes}");
        }
    }
}

#[test]
fn what_is_not_understood_is_kept_whole_and_the_turn_goes_on() {
    let strange = [
        json!({"type": "a_type_of_tomorrow", "some": ["thing", "é"]}),
        json!({"jsonrpc": "2.0", "method": "tomorrow/happened", "params": {"é": 1}}),
        json!({"method": "tomorrow/happened", "params": {"é": 1}}),
    ];
    for line in strange.iter().map(Value::to_string).chain(["no JSON at all: é".to_owned()]) {
        for (mut player, speech) in speaking("on") {
            let outputs = player.adapter.receive(line.as_bytes());
            assert!(matches!(&outputs[..], [Output::Unparsed { line: kept }] if *kept == line), "{line}: {outputs:?}");
            assert_eq!(said(&player.adapter.receive(speech.to_string().as_bytes())), "on");
        }
    }
}
