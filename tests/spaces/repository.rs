//! The repository: cloned once, with credentials that are left nowhere.

use serde_json::{Value, json};

use super::space::{WORKSPACE, container, holds, inspect, make, read, shell};
use super::support::{Client, Daemon, docker, docker_ok, so, until};

const PASSWORD: &str = "hunter2-the-password";

/// A server of one repository that wants a name and a password, in a network of its own.
struct Server {
    name: String,
}

/// Serves git's plain files to who has the password.
const SERVE: &str = r#"
set -e
cd /tmp && git init -q -b main r && cd r
git config user.email a@b && git config user.name a
echo main > file && git add . && git commit -q -m one
git checkout -q -b side && echo side > file && git commit -q -a -m two && git checkout -q main
git tag v1 side
cd .. && git clone -q --bare r r.git && git -C r.git update-server-info
cat > serve.py <<'PY'
import base64, functools, http.server, os
wanted = "Basic " + base64.b64encode(("reader:" + os.environ["PASSWORD"]).encode()).decode()
class Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        if self.headers.get("Authorization") == wanted:
            return super().do_GET()
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="r"')
        self.send_header("Content-Length", "0")
        self.end_headers()
print("serving", flush=True)
http.server.ThreadingHTTPServer(("", 8000), functools.partial(Handler, directory="/tmp")).serve_forever()
PY
exec python3 serve.py
"#;

impl Server {
    async fn start() -> Self {
        let name = format!("wharf-test-git-{}", uuid::Uuid::new_v4().simple());
        docker_ok(&["network", "create", "--internal", &name]);
        let server = Self { name };
        let (name, password) = (server.name.as_str(), format!("PASSWORD={PASSWORD}"));
        docker_ok(&[
            "run",
            "-d",
            "--name",
            name,
            "--network",
            name,
            "-e",
            &password,
            WORKSPACE,
            "/bin/sh",
            "-c",
            SERVE,
        ]);
        until("the server", async || {
            let told = docker_ok(&["logs", name]);
            so(told.contains("serving"), told)
        })
        .await;
        server
    }

    fn spec(&self, reference: Option<&str>, password: &str) -> Value {
        let repo = json!({ "url": format!("http://{}:8000/r.git", self.name), "ref": reference,
            "credentials": { "username": "reader", "password": password } });
        json!({ "image": WORKSPACE, "network": self.name, "repo": repo })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = docker(&["rm", "-f", "-v", &self.name]);
        let _ = docker(&["network", "rm", &self.name]);
    }
}

async fn start(client: &Client, id: &str) -> super::support::Answer {
    client.post(&format!("/v1/workspaces/{id}/start"), json!({})).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_is_cloned_once_with_credentials_that_are_not_left_in_it() {
    let server = Server::start().await;
    let daemon = Daemon::start().await;
    let client = daemon.client();
    let id = make(&client, server.spec(Some("side"), PASSWORD)).await;
    let store = daemon.state().to_owned();
    assert_eq!(holds(&store, PASSWORD.as_bytes()), None, "not in the store");
    start(&client, &id).await.expect(200);
    assert_eq!(read(&client, &format!("/v1/workspaces/{id}/files?path=file")).await, b"side\n");
    assert_eq!(shell(&id, "git -C /workspace rev-parse --abbrev-ref HEAD"), "side");
    let everywhere = format!("grep -rl {PASSWORD} /workspace /home/agent /tmp /run /var/lib/wharf 2>/dev/null; true");
    assert_eq!(docker_ok(&["exec", "-u", "0", &container(&id), "/bin/sh", "-c", &everywhere]), "");
    assert!(!inspect(&id).to_string().contains(PASSWORD), "not in the engine");
    assert_eq!(holds(&store, PASSWORD.as_bytes()), None, "not in the store or the log");
    let view = client.get(&format!("/v1/workspaces/{id}")).await.expect(200);
    assert!(!view.to_string().contains(PASSWORD));

    // What was changed since stays, also without the server.
    shell(&id, "echo mine > /workspace/file");
    docker_ok(&["stop", "-t", "0", &server.name]);
    client.post(&format!("/v1/workspaces/{id}/recreate"), json!({ "pids": 500 })).await.expect(200);
    assert_eq!(shell(&id, "cat /workspace/file"), "mine", "cloned once");
    let other = json!({ "repo": { "url": "https://example.com/other.git" } });
    assert_eq!(client.post(&format!("/v1/workspaces/{id}/recreate"), other).await.problem(422), "invalid_field");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_is_taken_at_its_default_branch_a_tag_or_not_at_all() {
    let server = Server::start().await;
    let daemon = Daemon::start().await;
    let client = daemon.client();
    for (reference, holds) in [(None, "main"), (Some("v1"), "side")] {
        let id = make(&client, server.spec(reference, PASSWORD)).await;
        start(&client, &id).await.expect(200);
        assert_eq!(shell(&id, "cat /workspace/file"), holds, "{reference:?}");
    }
    let id = make(&client, server.spec(None, "another-password")).await;
    let failed = start(&client, &id).await;
    assert!(failed.json["detail"].as_str().unwrap().contains("cloning"), "{:#}", failed.json);
    assert!(!failed.json.to_string().contains("another-password"));
    assert_eq!(failed.problem(409), "setup_failed");
    assert_eq!(client.get(&format!("/v1/workspaces/{id}")).await.expect(200)["status"], "error");
    // With the right ones it goes on.
    let repo = server.spec(None, PASSWORD)["repo"].clone();
    let view = client.post(&format!("/v1/workspaces/{id}/recreate"), json!({ "repo": repo })).await.expect(200);
    assert_eq!(view["status"], "running");
    assert_eq!(shell(&id, "cat /workspace/file"), "main");
}
