//! The agents of the table: what is different about each of them, and only that.

use serde_json::{Value, json};

/// An agent, and how it is looked at from outside.
pub struct Agent {
    /// Its name in the catalogue.
    pub name: &'static str,
    /// Two models, as the API of wharf has them.
    pub models: [&'static str; 2],
    /// The same, as the model server has them.
    pub wire: [&'static str; 2],
    /// What the command line of its process holds, an expression of `grep -E`.
    pub process: &'static str,
    /// Whether it asks a model, and runs MCP servers. The demo agent answers by itself.
    pub real: bool,
    /// Which API of the model server it speaks.
    pub api: &'static str,
    /// How many bytes of a large output it shows at least; each has a limit of its own.
    pub shows: usize,
    /// Whether it tells the status of a model API's error beside the text; ACP has no place for it.
    pub tells_status: bool,
    /// What it says itself when the model API answers 500, where it does not pass on what the API said.
    pub own_words_for_500: Option<&'static str>,
}

/// Claude Code.
pub const CLAUDE: Agent = Agent {
    name: "claude",
    models: ["mock-1", "mock-2"],
    wire: ["mock-1", "mock-2"],
    process: "^claude -p",
    real: true,
    api: "anthropic",
    shows: 1000,
    tells_status: true,
    own_words_for_500: None,
};

/// Codex, by its app-server.
pub const CODEX: Agent = Agent {
    name: "codex",
    models: ["gpt-5.5", "gpt-5.4"],
    wire: ["gpt-5.5", "gpt-5.4"],
    process: "^codex app-server",
    real: true,
    api: "responses",
    shows: 1000,
    tells_status: true,
    own_words_for_500: Some("high demand"),
};

/// The demo agent.
pub const DEMO: Agent = Agent {
    name: "demo",
    models: ["demo-2", "demo-3"],
    wire: ["demo-2", "demo-3"],
    process: "^wharf-demo-agent",
    real: false,
    api: "",
    shows: 5_000_000,
    tells_status: true,
    own_words_for_500: None,
};

/// OpenCode, by its ACP server.
pub const OPENCODE: Agent = Agent {
    name: "opencode",
    models: ["local/mock-1", "local/mock-2"],
    wire: ["mock-1", "mock-2"],
    process: "^opencode acp",
    real: true,
    api: "chat",
    shows: 1000,
    tells_status: false,
    own_words_for_500: None,
};

/// What the daemon's configuration says of the agents.
pub const CONFIG: &str = r#"
[agents.opencode]
argv = ["opencode", "acp"]
"#;

/// The daemon's environment, of which agents get what is theirs.
pub fn environment(url: &str) -> [(&'static str, String); 2] {
    [("OPENAI_API_KEY", "x".to_owned()), ("OPENAI_BASE_URL", format!("{url}/v1"))]
}

impl Agent {
    /// The environment of its sessions: how it gets to the model server.
    pub fn env(&self, url: &str) -> Value {
        match self.name {
            "claude" => json!({
                "ANTHROPIC_API_KEY": "x",
                "ANTHROPIC_BASE_URL": url,
                // An error is to be told, not tried again ten times.
                "CLAUDE_CODE_MAX_RETRIES": "0",
            }),
            "opencode" => json!({
                "OPENCODE_CONFIG_CONTENT": opencode(url).to_string(),
                "OPENCODE_DISABLE_MODELS_FETCH": "1",
            }),
            _ => json!({}),
        }
    }
}

fn opencode(url: &str) -> Value {
    let model = |name: &str| json!({"name": name, "tool_call": true, "limit": {"context": 10_000_000, "output": 8192}});
    json!({
        "model": "local/mock-1", "small_model": "local/mock-1", "autoupdate": false, "share": "disabled",
        "permission": {"bash": "ask", "edit": "ask"},
        "provider": {"local": {
            "npm": "@ai-sdk/openai-compatible", "name": "Local",
            "options": {"baseURL": format!("{url}/v1"), "apiKey": "x"},
            "models": {"mock-1": model("Mock 1"), "mock-2": model("Mock 2")},
        }},
    })
}
