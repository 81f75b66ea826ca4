//! The agents that need no configuration.

use super::{AgentEntry, Protocol, WORKSPACE_IMAGE};
use crate::agent::{claude, codex};

/// The proxies that an agent needs where the daemon needs them.
const PROXIES: [&str; 6] = ["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"];

/// Variables that are handed on to OpenCode: its configuration, and the keys of the usual providers.
const OPENCODE_PASSED: [&str; 16] = [
    "ANTHROPIC_API_KEY",
    "AWS_ACCESS_KEY_ID",
    "AWS_BEARER_TOKEN_BEDROCK",
    "AWS_REGION",
    "AWS_SECRET_ACCESS_KEY",
    "DEEPSEEK_API_KEY",
    "GEMINI_API_KEY",
    "GOOGLE_GENERATIVE_AI_API_KEY",
    "GROQ_API_KEY",
    "MISTRAL_API_KEY",
    "OPENAI_API_KEY",
    "OPENCODE_API_KEY",
    "OPENCODE_CONFIG_CONTENT",
    "OPENCODE_PERMISSION",
    "OPENROUTER_API_KEY",
    "XAI_API_KEY",
];

/// What OpenCode gets unless something else is said. It allows everything by itself, and permissions are wharf's to
/// give: so it asks, and the session's policy answers.
const OPENCODE_DEFAULTS: [(&str, &str); 4] = [
    ("OPENCODE_CONFIG_CONTENT", r#"{"autoupdate":false,"share":"disabled"}"#),
    ("OPENCODE_DISABLE_AUTOUPDATE", "1"),
    ("OPENCODE_DISABLE_MODELS_FETCH", "1"),
    ("OPENCODE_PERMISSION", r#"{"bash":"ask","edit":"ask","webfetch":"ask"}"#),
];

struct BuiltIn<'a> {
    name: &'a str,
    protocol: Protocol,
    argv: &'a [&'a str],
    defaults: &'a [(&'a str, &'a str)],
    pass_env: &'a [&'a str],
    image: &'a str,
    description: &'a str,
}

const BUILT_IN: [BuiltIn<'_>; 4] = [
    BuiltIn {
        name: "demo",
        protocol: Protocol::Acp,
        argv: &["wharf-demo-agent"],
        defaults: &[],
        pass_env: &[],
        image: "wharf/demo:latest",
        description: "A deterministic agent that needs no key and no network",
    },
    BuiltIn {
        name: "claude",
        protocol: Protocol::Claude,
        argv: &["claude"],
        defaults: &claude::ENVIRONMENT,
        pass_env: &claude::PASSED,
        image: WORKSPACE_IMAGE,
        description: "Claude Code",
    },
    BuiltIn {
        name: "codex",
        protocol: Protocol::Codex,
        argv: &["codex"],
        defaults: &[],
        pass_env: &codex::PASSED,
        image: WORKSPACE_IMAGE,
        description: "OpenAI Codex",
    },
    BuiltIn {
        name: "opencode",
        protocol: Protocol::Acp,
        argv: &["opencode", "acp"],
        defaults: &OPENCODE_DEFAULTS,
        pass_env: &OPENCODE_PASSED,
        image: WORKSPACE_IMAGE,
        description: "OpenCode",
    },
];

/// Every one of them.
pub(super) fn all() -> impl Iterator<Item = AgentEntry> {
    BUILT_IN.iter().map(|agent| {
        let passed = agent.pass_env.iter().chain(if agent.name == "demo" { &[][..] } else { &PROXIES[..] });
        AgentEntry {
            argv: agent.argv.iter().map(|&word| word.to_owned()).collect(),
            defaults: agent.defaults.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect(),
            pass_env: passed.map(|&name| name.to_owned()).collect(),
            image: agent.image.to_owned(),
            description: agent.description.to_owned(),
            built_in: true,
            ..AgentEntry::new(agent.name.to_owned(), agent.protocol)
        }
    })
}
