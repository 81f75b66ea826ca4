//! The catalogue: what is built in, what a configuration makes of it, and what an agent is given.

use std::path::Path;

use super::*;
use crate::agent::adapter::{Launch, StartOptions};

/// A daemon's surroundings with one of each.
struct World;

impl Surroundings for World {
    fn variable(&self, name: &str) -> Option<String> {
        (name != "UNSET").then(|| format!("<{name}>"))
    }

    fn credential(&self, name: &str) -> Result<String, String> {
        match name {
            "key" => Ok("key-from-a-credential\n".into()),
            _ => Err("it is not there".into()),
        }
    }

    fn file(&self, path: &Path) -> Result<String, String> {
        match path.to_str() {
            Some("/env") => Ok("A_KEY=from-the-env-file\nOVER=under\n".into()),
            Some("/auth") => Ok("{\"token\":\"from-the-auth-file\"}\n".into()),
            _ => Err("it is not there".into()),
        }
    }
}

fn catalogue(json: Value) -> Result<Catalogue, CatalogueError> {
    Catalogue::new(serde_json::from_value(json).unwrap())
}

static NONE: BTreeMap<String, String> = BTreeMap::new();
const NOTHING_OWN: Own<'static> = Own { workspace: &NONE, session: &NONE };

#[test]
fn what_a_session_or_a_workspace_has_of_its_own_goes_before_the_daemons() {
    let agents = catalogue(json!({"codex": {"pass_env": ["TOKEN", "OPENAI_BASE_URL"]}})).unwrap();
    let codex = agents.get("codex").unwrap();
    let map = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
    let url = |launch: &Launch| launch.argv.iter().find_map(|a| a.strip_prefix("openai_base_url=").map(str::to_owned));
    let (theirs, ours) = (map("OPENAI_BASE_URL", "http://workspace"), map("OPENAI_BASE_URL", "http://session"));
    let of = |workspace, session| codex.launch(&StartOptions::default(), &Own { workspace, session }, &World).unwrap();
    assert_eq!(url(&of(&NONE, &NONE)).as_deref(), Some("\"<OPENAI_BASE_URL>\""), "the daemon's");
    assert_eq!(url(&of(&theirs, &NONE)).as_deref(), Some("\"http://workspace\""));
    assert_eq!(url(&of(&theirs, &ours)).as_deref(), Some("\"http://session\""));
    let token = map("TOKEN", "the-workspaces");
    assert_eq!(value(&of(&token, &NONE), "TOKEN"), Some("the-workspaces"));
    assert_ne!(value(&of(&NONE, &NONE), "TOKEN"), Some("the-workspaces"));
}

fn launch(agents: &Catalogue, name: &str, options: &StartOptions) -> Launch {
    agents.get(name).unwrap().launch(options, &NOTHING_OWN, &World).unwrap()
}

fn value<'a>(launch: &'a Launch, name: &str) -> Option<&'a str> {
    launch.env.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

#[test]
fn built_in_agents_are_there_and_can_be_changed() {
    let agents = catalogue(json!({
        "claude": {"image": "mine:1", "env": {"A": "b"}, "pass_env": ["TOKEN", "UNSET"]},
        "mine": {"argv": ["mine", "acp"]},
    }))
    .unwrap();
    for name in ["claude", "demo", "mine", "opencode"] {
        assert!(agents.names().any(|known| known == name), "{name}");
    }
    let options = StartOptions { fresh_id: "f".into(), ..StartOptions::default() };
    let claude = launch(&agents, "claude", &options);
    assert_eq!(claude.argv[..2], ["claude", "-p"]);
    assert_eq!((value(&claude, "TOKEN"), value(&claude, "A")), (Some("<TOKEN>"), Some("b")));
    assert_eq!((value(&claude, "UNSET"), value(&claude, "DISABLE_AUTOUPDATER")), (None, Some("1")));
    assert_eq!(agents.get("claude").unwrap().image(), "mine:1");
    let demo = launch(&agents, "demo", &options);
    assert_eq!(demo, Launch { argv: vec!["wharf-demo-agent".into()], ..Launch::default() });
    assert_eq!(agents.get("mine").unwrap().image(), WORKSPACE_IMAGE);
}

#[test]
fn agents_get_their_keys_from_the_daemon() {
    let agents = catalogue(json!({})).unwrap();
    let claude = launch(&agents, "claude", &StartOptions::default());
    for name in ["ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL", "CLAUDE_CODE_OAUTH_TOKEN", "HTTPS_PROXY", "no_proxy"] {
        assert_eq!(value(&claude, name), Some(format!("<{name}>").as_str()), "{name}");
    }
    let opencode = launch(&agents, "opencode", &StartOptions::default());
    assert_eq!(opencode.argv, ["opencode", "acp"]);
    assert_eq!(value(&opencode, "OPENCODE_DISABLE_MODELS_FETCH"), Some("1"));
    assert_eq!(value(&opencode, "OPENCODE_CONFIG_CONTENT"), Some("<OPENCODE_CONFIG_CONTENT>"), "handed on, over ours");
    assert!(opencode.secrets.iter().any(|secret| secret == "<OPENAI_API_KEY>"));
    assert!(!opencode.secrets.iter().any(|secret| secret == "<AWS_REGION>"));
}

#[test]
fn secrets_come_from_where_they_are_kept() {
    let agents = catalogue(json!({"demo": {
        "env": {"KEY": {"credential": "key"}, "OVER": "over"},
        "env_file": "/env",
        "files": [{"path": "~/.auth.json", "file": "/auth"}, {"path": "/workspace/.plain", "text": "plain text"}],
    }}))
    .unwrap();
    let demo = launch(&agents, "demo", &StartOptions::default());
    assert_eq!(value(&demo, "KEY"), Some("key-from-a-credential"), "without the line break at the end");
    assert_eq!((value(&demo, "A_KEY"), value(&demo, "OVER")), (Some("from-the-env-file"), Some("over")));
    assert_eq!(demo.files[0], ("/home/agent/.auth.json".into(), "{\"token\":\"from-the-auth-file\"}\n".into()));
    let secrets: Vec<_> = demo.secrets.iter().collect();
    for secret in ["key-from-a-credential", "from-the-env-file", "from-the-auth-file"] {
        assert!(secrets.contains(&secret), "{secret}");
    }
    assert!(!secrets.contains(&"plain text"));
    assert_eq!(agents.get("demo").unwrap().secrets(&World), demo.secrets);
}

#[test]
fn a_missing_secret_is_named() {
    for (config, place, what) in [
        (json!({"env": {"KEY": {"credential": "gone"}}}), "agents.demo.env.KEY", "credential `gone`"),
        (json!({"env_file": "/gone"}), "agents.demo.env_file", "file /gone"),
        (json!({"files": [{"path": "~/x", "file": "/gone"}]}), "agents.demo.files /home/agent/x", "file /gone"),
    ] {
        let agents = catalogue(json!({ "demo": config })).unwrap();
        let demo = agents.get("demo").unwrap();
        let error = demo.launch(&StartOptions::default(), &NOTHING_OWN, &World).unwrap_err().to_string();
        assert!(error.contains(place) && error.contains(what) && error.contains("not there"), "{error}");
        assert!(demo.secrets(&World).is_empty());
    }
}

#[test]
fn a_model_goes_the_way_that_is_configured() {
    let agents = catalogue(json!({"mine": {
        "argv": ["mine"], "model": "env:MODEL", "mode": "arg:--mode", "resume": "never",
    }}))
    .unwrap();
    let options = StartOptions { model: Some("m".into()), mode: Some("fast".into()), ..StartOptions::default() };
    let mine = agents.get("mine").unwrap();
    let started = launch(&agents, "mine", &options);
    assert_eq!((started.argv.join(" "), value(&started, "MODEL")), ("mine --mode fast".into(), Some("m")));
    assert_eq!((mine.told(&options).model, mine.told(&options).mode), (None, None));
    assert!(mine.check_switch("model").unwrap_err().0.contains("MODEL"));
    assert!(mine.check_switch("mode").unwrap_err().0.contains("--mode"));
    assert!(!mine.keeps_conversations() && mine.check_resume().is_err());
    let abilities = mine.abilities();
    assert_eq!((abilities.resume, abilities.model), (Some(false), Some(Choosing::AtStart)));
    assert_eq!(abilities.images, None, "it announces that when it runs");
    let demo = agents.get("demo").unwrap();
    assert_eq!(demo.told(&options).model.as_deref(), Some("m"));
    assert!(demo.check_switch("model").is_ok());
}

#[test]
fn what_an_agent_can_not_do_is_told_before_it_runs() {
    let agents = catalogue(json!({})).unwrap();
    let claude = agents.get("claude").unwrap();
    assert!(claude.check_mode("plan").is_ok());
    assert!(claude.check_mode("fast").unwrap_err().0.contains("acceptEdits"));
    let error = check_mcp("x", &[json!({"type": "http", "name": "far"})], &["stdio"]).unwrap_err().0;
    assert!(error.contains("http") && error.contains("far") && error.contains("stdio"), "{error}");
    assert!(check_mcp("x", &[json!({"name": "near", "command": "/x"})], &["stdio"]).is_ok());
}

#[test]
fn a_configuration_without_sense_is_refused() {
    assert_eq!(catalogue(json!({"x": {}})), Err(CatalogueError::Argv("x".into())));
    assert_eq!(catalogue(json!({"a b": {"argv": ["x"]}})), Err(CatalogueError::Name("a b".into())));
    let variable = catalogue(json!({"demo": {"env": {"A=B": "c"}}}));
    assert_eq!(variable, Err(CatalogueError::Variable { agent: "demo".into(), variable: "A=B".into() }));
    for config in [json!({"files": [{"path": "/etc/x", "text": "a"}]}), json!({"env_file": "relative"})] {
        let refused = catalogue(json!({ "demo": config }));
        assert!(matches!(refused, Err(CatalogueError::File { .. })), "{refused:?}");
    }
    assert!(serde_json::from_value::<AgentConfig>(json!({"imgae": "x"})).is_err());
    assert!(serde_json::from_value::<AgentConfig>(json!({"model": "flag:x"})).is_err());
}

#[test]
fn a_state_of_another_protocol_is_refused() {
    let agents = catalogue(json!({})).unwrap();
    let state = agents.get("demo").unwrap().adapter().state();
    assert!(agents.restore("demo", &state).is_ok());
    assert!(matches!(agents.restore("claude", &state), Err(RestoreError::State(_))));
    assert!(matches!(agents.restore("demo", &json!({})), Err(RestoreError::State(_))));
    assert!(matches!(agents.restore("gone", &state), Err(RestoreError::UnknownAgent(_))));
}
