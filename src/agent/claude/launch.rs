//! How Claude Code is started.

use serde_json::{Map, Value, json};

use crate::agent::{adapter::StartOptions, mcp};

/// Variables that the daemon hands on, where it has them.
pub(in crate::agent) const PASSED: [&str; 8] = [
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_AUTH_TOKEN",
    "ANTHROPIC_BASE_URL",
    "ANTHROPIC_CUSTOM_HEADERS",
    "ANTHROPIC_MODEL",
    "ANTHROPIC_SMALL_FAST_MODEL",
    "CLAUDE_CODE_OAUTH_TOKEN",
    "CLAUDE_CODE_MAX_RETRIES",
];

/// Variables that are always set.
pub(in crate::agent) const ENVIRONMENT: [(&str, &str); 3] = [
    ("DISABLE_AUTOUPDATER", "1"),
    ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
    // The container is the sandbox; without this word it refuses the flags below to root.
    ("IS_SANDBOX", "1"),
];

/// The arguments behind the program.
///
/// Permission requests always come over stdio, whatever the policy: so it can change while the process runs, and what
/// was allowed shows in the log. Skipping them is only made possible, for who chooses the mode `bypassPermissions`.
/// Questions to the user are disallowed: a permission request has no place for their answers, so the model is left to
/// ask them in its own words.
pub(in crate::agent) fn arguments(options: &StartOptions) -> Vec<String> {
    let mut argv: Vec<String> = [
        "-p",
        "--input-format",
        "stream-json",
        "--output-format",
        "stream-json",
        "--verbose",
        "--include-partial-messages",
        "--disallowedTools",
        "AskUserQuestion",
        "--permission-prompt-tool",
        "stdio",
        "--allow-dangerously-skip-permissions",
    ]
    .map(str::to_owned)
    .into();
    if let Some(model) = &options.model {
        argv.extend(["--model".to_owned(), model.clone()]);
    }
    match &options.resume {
        Some(session) => argv.extend(["--resume".to_owned(), session.clone()]),
        None => argv.extend(["--session-id".to_owned(), options.fresh_id.clone()]),
    }
    argv
}

/// ACP's MCP servers in Claude Code's words, by name.
pub(super) fn mcp_servers(servers: &[Value]) -> Map<String, Value> {
    mcp::by_name(servers, mcp_server)
}

fn mcp_server(server: &Value) -> Value {
    match server["type"].as_str() {
        Some(kind @ ("http" | "sse")) => {
            json!({"type": kind, "url": server["url"], "headers": mcp::pairs(&server["headers"])})
        }
        _ => json!({
            "type": "stdio",
            "command": server["command"],
            "args": server["args"].as_array().cloned().unwrap_or_default(),
            "env": mcp::pairs(&server["env"]),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_and_a_resume_differ_in_the_id_only() {
        let mut options = StartOptions { fresh_id: "F".into(), model: Some("m".into()), ..StartOptions::default() };
        let fresh = arguments(&options);
        assert!(fresh.ends_with(&["--model".into(), "m".into(), "--session-id".into(), "F".into()]));
        options.resume = Some("R".into());
        assert!(arguments(&options).ends_with(&["--resume".into(), "R".into()]));
    }

    #[test]
    fn mcp_servers_keep_their_secrets_off_argv() {
        let servers = [
            json!({"name": "a", "command": "/bin/a", "args": ["x"], "env": [{"name": "K", "value": "v"}]}),
            json!({"type": "http", "name": "b", "url": "http://b", "headers": [{"name": "H", "value": "v"}]}),
        ];
        let expected = json!({
            "a": {"type": "stdio", "command": "/bin/a", "args": ["x"], "env": {"K": "v"}},
            "b": {"type": "http", "url": "http://b", "headers": {"H": "v"}},
        });
        assert_eq!(Value::Object(mcp_servers(&servers)), expected);
    }
}
