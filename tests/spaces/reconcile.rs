//! What others do to a container is noticed, told with its reason, and put right by the next prompt.

use serde_json::json;

use super::space::{container, inspect, session, started};
use super::support::{Client, Daemon, Event, Events, docker_ok};

struct Live {
    daemon: Daemon,
    client: Client,
    workspace: String,
    session: String,
    events: Events,
}

async fn live() -> Live {
    let daemon = Daemon::start().await;
    let client = daemon.client();
    let workspace = started(&client, json!({ "memory": 67_108_864 })).await;
    let session = session(&client, &workspace, "it:live").await;
    client.turn(&session, "echo first").await;
    let after = client.session(&session).await["last_seq"].as_u64().unwrap();
    let events = client.events(&session, after).await;
    Live { daemon, client, workspace, session, events }
}

impl Live {
    /// Waits for an event that tells of this status with a reason that says so.
    async fn told(&mut self, status: &str, says: &str) -> Event {
        let fits = |e: &Event| {
            let data = &e.json["data"];
            e.kind() == "workspace.status"
                && data["status"] == status
                && data["reason"].as_str().is_some_and(|reason| reason.contains(says))
        };
        self.events.until(fits).await
    }

    async fn put_right(&self) {
        let (text, end) = self.client.turn(&self.session, "recall").await;
        assert!(text.lines().any(|line| line == "echo first"), "{text} {end}");
        assert_eq!(end["status"], "done");
        let state = &inspect(&self.workspace)["State"];
        assert_eq!((&state["Running"], &state["Paused"]), (&json!(true), &json!(false)));
        assert_eq!(self.daemon.containers().len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_container_is_noticed_and_put_right_on_the_next_prompt() {
    let mut live = live().await;
    docker_ok(&["kill", &container(&live.workspace)]);
    live.told("stopped", "killed").await;
    live.put_right().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_removed_by_hand_is_noticed_and_put_right_on_the_next_prompt() {
    let mut live = live().await;
    docker_ok(&["rm", "-f", &container(&live.workspace)]);
    live.told("absent", "removed").await;
    live.put_right().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_container_is_noticed_and_thawed_by_use() {
    let mut live = live().await;
    docker_ok(&["pause", &container(&live.workspace)]);
    live.told("paused", "paused").await;
    live.put_right().await;
    docker_ok(&["pause", &container(&live.workspace)]);
    live.told("paused", "paused").await;
    // A file is use too.
    let path = format!("/v1/workspaces/{}/files?path=/home/agent", live.workspace);
    assert_eq!(live.client.request("GET", &path).send().await.unwrap().status(), 200);
    live.put_right().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lack_of_memory_is_noticed_and_put_right_on_the_next_prompt() {
    let mut live = live().await;
    // What tail keeps of a file without lines is all of it.
    let n = live.client.prompt(&live.session, "run head -c 300000000 /dev/zero | tail -c 300000000 | wc -c").await;
    // Whether the kernel takes the tool or the agent, and so which of the two events comes first, is not said.
    let mut ends = live.client.events(&live.session, 0).await;
    live.told("running", "memory limit of 64 MiB").await;
    let end = ends.until(|e| e.kind() == "turn.ended" && e.json["data"]["prompt"] == n).await;
    assert_ne!(end.json["data"]["status"], "pending");
    live.put_right().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happened_while_the_daemon_was_away_is_noticed_at_its_start() {
    let mut live = live().await;
    live.daemon.stop();
    docker_ok(&["rm", "-f", &container(&live.workspace)]);
    live.daemon.start_again().await;
    live.client = live.daemon.client();
    live.put_right().await;
    live.daemon.stop();
    docker_ok(&["pause", &container(&live.workspace)]);
    live.daemon.start_again().await;
    live.client = live.daemon.client();
    live.put_right().await;
}
