//! Secrets on their way to an agent: they reach it, and are found nowhere else (guarantee 12).

mod support;

use std::path::Path;

use serde_json::{Value, json};
use support::{Client, Daemon, docker, docker_ok};
use tempfile::TempDir;

const CREDENTIAL: &str = "credential-4f1d9ab2c7e0";
const FILE: &str = "file-secret-81c0de55aa12";
const ENV_FILE: &str = "env-file-secret-b3aa90f1";
const PASSED: &str = "passed-secret-0c2277ff19";
const PLAIN: &str = "plain-secret-66e2d1b8c3";
const SESSION: &str = "session-secret-9e4b07d2";
const WORKSPACE: &str = "workspace-secret-75ab1c";
const AUTH: &str = "auth-file-secret-d01f3e";

const ALL: [(&str, &str); 7] = [
    ("CRED_KEY", CREDENTIAL),
    ("FILE_KEY", FILE),
    ("LINE_KEY", ENV_FILE),
    ("PASSED_KEY", PASSED),
    ("PLAIN_KEY", PLAIN),
    ("SESSION_KEY", SESSION),
    ("WORKSPACE_KEY", WORKSPACE),
];

/// The places where secrets are kept.
struct Kept {
    dir: TempDir,
}

impl Kept {
    fn new() -> Self {
        let kept = Self { dir: tempfile::tempdir().expect("a directory") };
        kept.write("cred", &format!("{CREDENTIAL}\n"));
        kept.write("key", FILE);
        kept.write("env", &format!("# of the agent\nLINE_KEY='{ENV_FILE}'\n"));
        kept.write("auth", &auth(AUTH));
        kept
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.dir.path().join(name), text).expect("it is written");
    }

    fn config(&self) -> String {
        let dir = self.dir.path().display();
        format!(
            "[agents.demo]\npass_env = [\"PASSED_KEY\"]\nenv_file = \"{dir}/env\"\n\
             [agents.demo.env]\nCRED_KEY = {{ credential = \"cred\" }}\nFILE_KEY = {{ file = \"{dir}/key\" }}\n\
             PLAIN_KEY = \"{PLAIN}\"\nPLAIN_WORD = \"ordinary-words\"\n\
             [[agents.demo.files]]\npath = \"~/.vault/auth.json\"\ncredential = \"auth\"\n"
        )
    }

    async fn daemon(&self) -> Daemon {
        let dir = self.dir.path().display().to_string();
        let env = [("CREDENTIALS_DIRECTORY", dir.as_str()), ("PASSED_KEY", PASSED), ("WHARF_LOG", "trace")];
        Daemon::start_with(&env, Some(&self.config())).await
    }
}

fn auth(secret: &str) -> String {
    json!({ "tokens": { "access_token": secret } }).to_string()
}

/// A session with secrets of its own in a shared workspace; its id.
async fn session(client: &Client, key: &str) -> String {
    let body = json!({ "agent": "demo", "key": key, "workspace": "vault", "env": { "SESSION_KEY": SESSION } });
    client.post("/v1/sessions", body).await.expect(201)["id"].as_str().expect("an id").to_owned()
}

async fn workspace(client: &Client) {
    let spec = json!({ "name": "vault", "image": "wharf/demo:latest", "env": { "WORKSPACE_KEY": WORKSPACE } });
    client.post("/v1/workspaces", spec).await.expect(201);
}

/// Runs a command through the agent; all events of the turn, as text.
async fn run(client: &Client, id: &str, command: &str) -> String {
    let after = client.session(id).await["last_seq"].as_u64().expect("a number");
    let mut events = client.events(id, after).await;
    let n = client.prompt(id, &format!("run {command}")).await;
    let mut all = String::new();
    events
        .until(|event| {
            all.push_str(&event.json.to_string());
            event.kind() == "turn.ended" && event.json["data"]["prompt"] == n
        })
        .await;
    all
}

/// What a command printed.
async fn output(client: &Client, id: &str, command: &str) -> String {
    let after = client.session(id).await["last_seq"].as_u64().expect("a number");
    let mut events = client.events(id, after).await;
    client.prompt(id, &format!("run {command}")).await;
    let done = events.until(|e| e.json["data"]["status"] == "completed").await;
    events.until_kind("turn.ended").await;
    done.json["data"]["content"][0]["content"]["text"].as_str().unwrap_or_default().trim().to_owned()
}

/// The files below a directory that hold a text.
fn files_with(dir: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).expect("a directory") {
        let entry = entry.expect("an entry");
        if entry.file_type().expect("a type").is_dir() {
            found.extend(files_with(&entry.path(), text));
        } else if let Ok(bytes) = std::fs::read(entry.path())
            && memchr::memmem::find(&bytes, text.as_bytes()).is_some()
        {
            found.push(entry.path().display().to_string());
        }
    }
    found
}

/// The files on a container's volumes that hold a text, looked at by who owns them.
fn on_volumes(container: &str, text: &str) -> String {
    let look = |user: &str, dirs: &str| {
        let script = format!("find {dirs} -type f -exec grep -lF -- '{text}' {{}} + || true");
        docker_ok(&["exec", "--user", user, container, "/bin/busybox", "sh", "-c", &script])
    };
    look("1000", "/home/agent /workspace") + &look("0", "/var/lib/wharf")
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_reach_the_agent_and_lie_nowhere() {
    let kept = Kept::new();
    let daemon = kept.daemon().await;
    let client = daemon.client();
    workspace(&client).await;
    let id = session(&client, "it:secrets").await;
    // Their lengths prove that they are there, and leave them out of the conversation.
    for (name, secret) in ALL {
        assert_eq!(output(&client, &id, &format!("echo ${{#{name}}}")).await, secret.len().to_string(), "{name}");
    }
    let listed = output(&client, &id, "ls -lLn ~/.vault/auth.json; wc -c < ~/.vault/auth.json").await;
    assert!(listed.starts_with("-rw-------") && listed.contains(" 1000 "), "{listed}");
    assert!(listed.ends_with(&auth(AUTH).len().to_string()), "{listed}");
    assert!(output(&client, &id, "readlink ~/.vault/auth.json").await.starts_with("/run/wharf-files/"));

    let container = daemon.containers()[0].clone();
    let (inspected, log) = (docker_ok(&["inspect", &container]), daemon.log_text());
    let arguments = docker_ok(&["top", &container, "-eo", "pid,args"]);
    for secret in ALL.iter().map(|(_, secret)| *secret).chain([AUTH]) {
        assert!(!inspected.contains(secret), "docker inspect shows {secret}");
        assert!(!log.contains(secret), "the daemon's log shows {secret}");
        assert!(!arguments.contains(secret), "the list of processes shows {secret}");
        assert_eq!(files_with(daemon.state(), secret), Vec::<String>::new(), "in clear: {secret}");
        assert_eq!(on_volumes(&container, secret), "", "at rest on a volume: {secret}");
    }
    // What is there is found: the same searches see an ordinary word.
    output(&client, &id, "echo ordinary > ~/word; echo ordinary").await;
    assert_ne!(files_with(daemon.state(), "ordinary"), Vec::<String>::new());
    assert!(on_volumes(&container, "ordinary").contains("/home/agent/word"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_agent_says_of_them_is_redacted() {
    let kept = Kept::new();
    let mut daemon = kept.daemon().await;
    let client = daemon.client();
    workspace(&client).await;
    let id = session(&client, "it:redacted").await;
    for (name, secret) in ALL {
        let said = run(&client, &id, &format!("echo it is ${name}.")).await;
        assert!(said.contains("it is [redacted].") && !said.contains(secret), "{name}: {said}");
    }
    let said = run(&client, &id, "echo ordinary: $PLAIN_WORD; cat ~/.vault/auth.json").await;
    assert!(said.contains("ordinary: ordinary-words") && said.contains("[redacted]") && !said.contains(AUTH), "{said}");
    // By the agent's own standard error and output too, where its last words are told when it dies.
    run(&client, &id, "echo \"err $FILE_KEY\" >/proc/$PPID/fd/2; echo \"raw $CRED_KEY\" >/proc/$PPID/fd/1").await;
    // A new daemon knows them again.
    daemon.kill();
    daemon.start_again().await;
    let client = daemon.client();
    let said = run(&client, &id, "echo again $SESSION_KEY $CRED_KEY").await;
    assert!(said.contains("again [redacted] [redacted]"), "{said}");
    let mut events = client.events(&id, client.session(&id).await["last_seq"].as_u64().expect("a number")).await;
    client.prompt(&id, "run echo \"last $CRED_KEY\" >/proc/$PPID/fd/2; kill -9 $PPID").await;
    let exited = events.until_kind("agent.exited").await;
    assert!(exited.json["data"]["stderr"].as_str().is_some_and(|s| s.contains("last [redacted]")), "{}", exited.json);

    let all = client.get(&format!("/v1/sessions/{id}/events?limit=1000")).await.expect(200);
    let of = |kind: &str| -> String {
        let items = all["items"].as_array().expect("a list").iter().filter(|e| e["type"] == kind);
        items.map(Value::to_string).collect()
    };
    assert!(of("agent.stderr").contains("err [redacted]"), "{}", of("agent.stderr"));
    assert!(of("agent.unparsed").contains("raw [redacted]"), "{}", of("agent.unparsed"));
    for secret in ALL.iter().map(|(_, secret)| *secret).chain([AUTH]) {
        assert!(!all.to_string().contains(secret), "an event shows {secret}");
        assert!(!daemon.log_text().contains(secret), "the daemon's log shows {secret}");
        assert_eq!(files_with(daemon.state(), secret), Vec::<String>::new(), "in clear: {secret}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_go_with_the_last_process_that_has_them() {
    let kept = Kept::new();
    let daemon = kept.daemon().await;
    let client = daemon.client();
    workspace(&client).await;
    let (one, two) = (session(&client, "it:one").await, session(&client, "it:two").await);
    for id in [&one, &two] {
        assert_eq!(output(&client, id, "wc -c < ~/.vault/auth.json").await, auth(AUTH).len().to_string());
    }
    let files = || docker_ok(&["exec", &daemon.containers()[0], "ls", "/run/wharf-files"]);
    assert_eq!(files().lines().count(), 1, "one place, one file");
    client.delete(&format!("/v1/sessions/{one}")).await.expect(200);
    assert_eq!(output(&client, &two, "wc -c < ~/.vault/auth.json").await, auth(AUTH).len().to_string());
    client.delete(&format!("/v1/sessions/{two}")).await.expect(200);
    assert_eq!(files(), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_secret_is_given_at_the_next_start() {
    let kept = Kept::new();
    let daemon = kept.daemon().await;
    let client = daemon.client();
    workspace(&client).await;
    let id = session(&client, "it:rotated").await;
    assert_eq!(output(&client, &id, "echo ${#CRED_KEY}").await, CREDENTIAL.len().to_string());
    let fresh = format!("{CREDENTIAL}-rotated");
    kept.write("cred", &fresh);
    kept.write("auth", &auth("a-fresh-one-of-another-length"));
    client.turn(&id, "exit 3").await;
    assert_eq!(output(&client, &id, "echo ${#CRED_KEY}").await, fresh.len().to_string());
    let length = auth("a-fresh-one-of-another-length").len().to_string();
    assert_eq!(output(&client, &id, "wc -c < ~/.vault/auth.json").await, length);
    let said = run(&client, &id, "echo now $CRED_KEY").await;
    assert!(said.contains("now [redacted]") && !said.contains("-rotated"), "the longer one is taken whole: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_credential_is_named_and_nothing_else_is_told() {
    let kept = Kept::new();
    std::fs::remove_file(kept.dir.path().join("cred")).expect("it was there");
    let daemon = kept.daemon().await;
    let client = daemon.client();
    workspace(&client).await;
    let id = session(&client, "it:missing").await;
    let mut events = client.events(&id, 0).await;
    let failed = events.until(|e| e.json["data"]["status"] == "error").await;
    let message = failed.json["data"]["error"]["message"].as_str().expect("a message").to_owned();
    for part in ["agents.demo.env.CRED_KEY", "`cred`", "LoadCredential=cred", "restore the session"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    let refused = client.post(&format!("/v1/sessions/{id}/restore"), json!({})).await;
    assert!(refused.json["detail"].as_str().is_some_and(|d| d.contains("`cred`")), "{:#}", refused.json);
    assert_eq!(refused.problem(409), "session_failed");
    for (_, secret) in ALL {
        assert!(!message.contains(secret));
    }
    kept.write("cred", CREDENTIAL);
    client.post(&format!("/v1/sessions/{id}/restore"), json!({})).await.expect(200);
    assert_eq!(output(&client, &id, "echo ${#CRED_KEY}").await, CREDENTIAL.len().to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_in_the_way_is_replaced_and_a_directory_is_told() {
    let kept = Kept::new();
    let daemon = kept.daemon().await;
    let client = daemon.client();
    workspace(&client).await;
    let id = session(&client, "it:way").await;
    output(&client, &id, "rm ~/.vault/auth.json; echo of the agent > ~/.vault/auth.json").await;
    client.turn(&id, "exit 3").await;
    assert_eq!(output(&client, &id, "wc -c < ~/.vault/auth.json").await, auth(AUTH).len().to_string());
    output(&client, &id, "rm ~/.vault/auth.json; mkdir -p ~/.vault/auth.json/x").await;
    client.turn(&id, "exit 3").await;
    let refused = client.post(&format!("/v1/sessions/{id}/restore"), json!({})).await;
    let detail = refused.json["detail"].as_str().unwrap_or_default().to_owned();
    assert!(detail.contains("/home/agent/.vault/auth.json"), "{detail}");
    assert_eq!(refused.problem(409), "session_failed");
    assert!(docker(&["exec", &daemon.containers()[0], "ls", "/run/wharf-files"]).is_ok_and(|files| files.is_empty()));
}
