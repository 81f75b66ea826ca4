//! How Codex is started.

use serde_json::{Map, Value, json};

use crate::agent::mcp;

/// Variables that the daemon hands on, where it has them.
pub(in crate::agent) const PASSED: [&str; 7] = [
    "OPENAI_API_KEY",
    "OPENAI_BASE_URL",
    "OPENAI_ORGANIZATION",
    "OPENAI_PROJECT",
    "CODEX_API_KEY",
    "CODEX_ACCESS_TOKEN",
    "CODEX_HOME",
];

/// The provider that takes its key from the environment: the app-server's own one takes it from a login only.
pub(super) const KEY_PROVIDER: &str = "openai-api-key";

/// Where OpenAI's API is.
const OPENAI: &str = "https://api.openai.com/v1";

/// The arguments behind the program. `variable` looks a variable of the process's environment up.
///
/// Nothing here is secret: argv shows in every list of processes.
pub(in crate::agent) fn arguments(variable: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty());
    let base_url = set("OPENAI_BASE_URL");
    let key = if set("OPENAI_API_KEY").is_none() && set("CODEX_API_KEY").is_some() {
        "CODEX_API_KEY"
    } else {
        "OPENAI_API_KEY"
    };
    let mut argv: Vec<String> = ["app-server", "--disable", "plugins"].map(str::to_owned).into();
    let mut config = |line: String| argv.extend(["-c".to_owned(), line]);
    config("check_for_update_on_startup=false".to_owned());
    config("analytics.enabled=false".to_owned());
    if let Some(url) = &base_url {
        config(format!("openai_base_url={}", quoted(url)));
    }
    let url = quoted(base_url.as_deref().unwrap_or(OPENAI));
    config(format!(
        "model_providers.{KEY_PROVIDER}={{name=\"OpenAI\",base_url={url},wire_api=\"responses\",env_key=\"{key}\",\
         env_key_instructions=\"Set it in the environment of the session, of the agent or of the daemon.\"}}"
    ));
    argv
}

/// A string as TOML has it.
fn quoted(text: &str) -> String {
    json!(text).to_string()
}

/// ACP's MCP servers in Codex's words, by name.
pub(super) fn mcp_servers(servers: &[Value]) -> Map<String, Value> {
    mcp::by_name(servers, mcp_server)
}

fn mcp_server(server: &Value) -> Value {
    match server["type"].as_str() {
        Some("http" | "sse") => json!({"url": server["url"], "http_headers": mcp::pairs(&server["headers"])}),
        _ => json!({
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
    fn a_key_alone_is_enough_and_never_on_argv() {
        let key = |wanted: &'static str| move |name: &str| (name == wanted).then(|| "sk-secret".to_owned());
        let argv = arguments(key("OPENAI_API_KEY")).join(" ");
        assert!(argv.starts_with("app-server --disable plugins -c "), "{argv}");
        assert!(argv.contains(r#"base_url="https://api.openai.com/v1""#) && !argv.contains("sk-secret"), "{argv}");
        assert!(argv.contains(r#"env_key="OPENAI_API_KEY""#), "{argv}");
        let argv = arguments(key("CODEX_API_KEY")).join(" ");
        assert!(argv.contains(r#"env_key="CODEX_API_KEY""#), "{argv}");
    }

    #[test]
    fn a_base_url_is_quoted() {
        let argv = arguments(|name| (name == "OPENAI_BASE_URL").then(|| "http://x/\"v1".to_owned())).join(" ");
        assert!(argv.contains(r#"openai_base_url="http://x/\"v1""#), "{argv}");
        assert!(argv.contains(r#"base_url="http://x/\"v1",wire_api"#), "{argv}");
    }

    #[test]
    fn mcp_servers_in_codexs_words() {
        let servers = [
            json!({"name": "a", "command": "/bin/a", "args": ["x"], "env": [{"name": "K", "value": "v"}]}),
            json!({"type": "http", "name": "b", "url": "http://b", "headers": [{"name": "H", "value": "v"}]}),
        ];
        let expected = json!({
            "a": {"command": "/bin/a", "args": ["x"], "env": {"K": "v"}},
            "b": {"url": "http://b", "http_headers": {"H": "v"}},
        });
        assert_eq!(Value::Object(mcp_servers(&servers)), expected);
    }
}
