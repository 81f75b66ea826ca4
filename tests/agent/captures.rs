//! Every transcript in every way of feeding it, compared with what was approved.

use crate::script::{Feed, Player, Recorded, capture, options};

const FEEDS: [Feed; 3] = [Feed::Lines, Feed::Bytes, Feed::Restored];

fn record(direction: char, text: &str) -> Recorded {
    Recorded { direction, text: text.to_owned() }
}

/// A transcript of Claude Code that was recorded without the handshake gets one.
fn with_handshake(mut recorded: Vec<Recorded>) -> Vec<Recorded> {
    if !recorded.iter().any(|line| line.text.contains("initialize")) {
        let ask = r#"{"type":"control_request","request_id":"i","request":{"subtype":"initialize"}}"#;
        let answer = r#"{"type":"control_response","response":{"subtype":"success","request_id":"i","response":{}}}"#;
        recorded.splice(1..1, [record('>', ask), record('<', answer)]);
    }
    recorded
}

/// Plays a transcript in all ways; all must say the same.
pub(crate) fn play(agent: &'static str, recorded: &[Recorded], resume: Option<&str>) -> Vec<String> {
    let [first, rest @ ..] = FEEDS.map(|feed| {
        let mut player = Player::new(agent, feed);
        player.start(&options(resume));
        player.play(recorded);
        player.said
    });
    for other in rest {
        assert_eq!(first, other);
    }
    first
}

fn approve(name: &str, said: &[String]) {
    let cut = |line: &String| line.chars().take(700).collect::<String>();
    let text = said.iter().map(cut).collect::<Vec<_>>().join("\n");
    insta::with_settings!({prepend_module_to_snapshot => false, omit_expression => true}, {
        insta::assert_snapshot!(name, text);
    });
}

fn unparsed(said: &[String]) -> usize {
    said.iter().filter(|line| line.starts_with("unparsed")).count()
}

#[test]
fn opencode_works_talks_and_fails() {
    let said = play("opencode", &capture("acp-opencode-1"), None);
    assert_eq!(unparsed(&said), 0);
    approve("acp-opencode-1", &said);
}

const SESSION: &str = "ses_e022be978ffe4GODvJXN3Eqj2I";

/// The transcript of a load, from an agent that can't resume.
fn load_only() -> Vec<Recorded> {
    let mut recorded = capture("acp-opencode-2-load");
    for line in &mut recorded {
        line.text = line.text.replace(r#","resume":{}}"#, "}");
    }
    recorded
}

#[test]
fn a_loaded_history_is_not_told_again() {
    let said = play("opencode", &load_only(), Some(SESSION));
    let chunks: Vec<_> = said.iter().filter(|line| line.contains("_chunk")).collect();
    assert_eq!(chunks.len(), 1, "{chunks:#?}");
    assert!(chunks[0].contains("turns=14"));
    approve("acp-opencode-2-load", &said);
}

#[test]
fn a_history_that_comes_after_the_answer_is_not_told_again_either() {
    let mut recorded = load_only();
    let answer = recorded.iter().position(|line| line.text.starts_with(r#"{"jsonrpc":"2.0","id":2,"result""#)).unwrap();
    let answer = recorded.remove(answer);
    let load = recorded.iter().position(|line| line.text.contains("session/load")).unwrap();
    // Behind the first repeated update, as that agent does it.
    recorded.insert(load + 2, answer);
    let said = play("opencode", &recorded, Some(SESSION));
    let chunks: Vec<_> = said.iter().filter(|line| line.contains("_chunk")).collect();
    assert!(chunks.len() == 1 && chunks[0].contains("turns=14"), "{chunks:#?}");
}

#[test]
fn opencode_resumes() {
    let said = play("opencode", &capture("acp-opencode-3-resume"), Some(SESSION));
    assert_eq!(unparsed(&said), 0);
    approve("acp-opencode-3-resume", &said);
}

#[test]
fn opencode_asks_for_permissions() {
    let said = play("opencode", &capture("acp-opencode-4-permission"), None);
    assert_eq!(said.iter().filter(|line| line.starts_with("permission")).count(), 5);
    approve("acp-opencode-4-permission", &said);
}

#[test]
fn opencode_wants_to_write_a_file_through_the_client() {
    let said = play("opencode", &capture("acp-opencode-5-fs-error"), None);
    assert!(said.iter().any(|line| line.starts_with("send") && line.contains("-32601")));
    assert_eq!(unparsed(&said), 0);
    approve("acp-opencode-5-fs-error", &said);
}

#[test]
fn claude_transcripts() {
    for name in
        ["claude-1-multiturn", "claude-2-control", "claude-3-SIGINT", "claude-3-eof-midturn", "claude-3-interrupt-tool"]
    {
        let said = play("claude", &with_handshake(capture(name)), None);
        // The one refusal that was provoked: a mode that needs a flag at launch.
        assert_eq!(unparsed(&said), usize::from(name == "claude-2-control"), "{name}");
        approve(name, &said);
    }
}

/// What was streamed is the whole text, once.
#[test]
fn claude_says_everything_once() {
    let said = play("claude", &with_handshake(capture("claude-3-eof-midturn")), None);
    let text: String = said
        .iter()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line.strip_prefix("update ")?).ok())
        .filter_map(|update| Some(update["content"]["text"].as_str()?.to_owned()))
        .collect();
    assert_eq!(text, (0..15).map(|n| format!("chunk {n} ")).collect::<String>());
}

#[test]
fn claude_resumes_or_says_that_it_cannot() {
    let id = "11111111-2222-4333-8444-555555555555";
    let said = play("claude", &with_handshake(capture("claude-3-resume")), Some(id));
    let told: Vec<_> = said.iter().filter(|line| line.starts_with("linked") || *line == "ready").collect();
    assert_eq!(told, [&format!("linked {id}"), "ready"]);
    approve("claude-3-resume", &said);

    let said = play("claude", &capture("claude-3-resume-unknown"), Some("99999999-2222-4333-8444-555555555555"));
    let failed = "resume failed: No conversation found with session ID: 99999999-2222-4333-8444-555555555555";
    assert_eq!(said.last().unwrap(), failed);
}

#[test]
fn codex_transcripts() {
    for name in ["codex-1-appserver", "codex-4-eof-midturn", "codex-5-tools", "codex-6-cancel", "codex-7-mcp"] {
        let said = play("codex", &capture(name), None);
        assert_eq!(unparsed(&said), 0, "{name}");
        approve(name, &said);
    }
}

/// What was streamed is the whole text, once.
#[test]
fn codex_says_everything_once() {
    let said = play("codex", &capture("codex-1-appserver"), None);
    let text: String = said
        .iter()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line.strip_prefix("update ")?).ok())
        .filter(|update| update["sessionUpdate"] == "agent_message_chunk")
        .filter_map(|update| Some(update["content"]["text"].as_str()?.to_owned()))
        .collect();
    assert!(text.starts_with("hello from codex turn oneDONE\nChunk ID: 023fd0\n"), "{text}");
    assert_eq!(text.matches("hello from codex").count(), 1);
    assert!(text.ends_with("steered answerstill alive"), "{text}");
}

#[test]
fn codex_resumes_or_says_that_it_cannot() {
    let id = "01a1fdd4-5919-7b60-903f-7d98b444742e";
    let said = play("codex", &capture("codex-2-resume"), Some(id));
    let told: Vec<_> = said.iter().filter(|line| line.starts_with("linked") || *line == "ready").collect();
    assert_eq!(told, [&format!("linked {id}"), "ready"]);
    assert!(said.iter().any(|line| line.starts_with("update") && line.contains("turns=16")), "{said:#?}");
    approve("codex-2-resume", &said);

    // The same transcript's other resume, of a thread that is not there.
    let unknown = "01a1fdb1-0000-7aa0-97df-a419dd50ee33";
    let mut recorded = capture("codex-2-resume");
    let is_resume = |line: &Recorded| line.direction == '>' && line.text.contains("thread/resume");
    let first = recorded.iter().position(is_resume).unwrap();
    let second = recorded.iter().rposition(is_resume).unwrap();
    recorded.drain(first..second);
    recorded.truncate(first + 2);
    let said = play("codex", &recorded, Some(unknown));
    assert_eq!(said.last().unwrap(), &format!("resume failed: no rollout found for thread id {unknown}"));
}
