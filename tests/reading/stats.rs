//! Rules: depth and active work are in `/v1/stats`; whether a user's turn is in flight is answered in one call.

use serde_json::{Value, json};

use super::support::{Client, Daemon};

async fn stats(client: &Client, query: &str) -> Value {
    client.get(&format!("/v1/stats{query}")).await.expect(200)
}

/// A session with a turn that lasts until it is cancelled.
async fn busy(client: &Client, fields: Value) -> String {
    let session = client.post("/v1/sessions", fields).await.expect(201);
    let id = session["id"].as_str().expect("an id").to_owned();
    let mut events = client.events(&id, 0).await;
    client.prompt(&id, "slow 1000").await;
    events.until(|e| e.chunk().is_some()).await;
    id
}

#[tokio::test(flavor = "multi_thread")]
async fn depth_and_active_work_are_in_stats_and_in_metrics() {
    let daemon = Daemon::start().await;
    let client = daemon.client();
    let empty = stats(&client, "").await;
    assert_eq!((&empty["sessions"]["total"], &empty["sessions"]["active_work"]), (&json!(0), &json!(0)));
    assert_eq!(empty["version"], env!("CARGO_PKG_VERSION"));
    assert!(empty["disk_use"].as_u64().is_some_and(|n| n > 0), "{empty}");

    let running = busy(&client, json!({ "agent": "demo", "key": "stats:running" })).await;
    client.prompt(&running, "echo later").await;
    client.prompt(&running, "echo even later").await;
    let waiting = client.demo("stats:waiting").await;
    let mut asked = client.events(&waiting, 0).await;
    client.prompt(&waiting, "ask true").await;
    asked.until_kind("permission.requested").await;
    let closed = client.demo("stats:closed").await;
    client.turn(&closed, "echo done").await;
    client.delete(&format!("/v1/sessions/{closed}")).await.expect(200);

    let now = stats(&client, "").await;
    let wanted = json!({
        "total": 3, "active": 2, "busy": 2, "waiting": 1, "error": 0, "by_agent": { "demo": 3 },
        "by_status": { "running": 1, "waiting": 1, "closed": 1 },
        "queue_depth": 2, "active_work": 4, "user_work": 4, "user_turn_in_flight": true,
    });
    assert_eq!(now["sessions"], wanted);
    assert_eq!(now["subscribers"], 1, "the one that waited for the request");
    drop(asked);

    scraped(&daemon, &client).await;

    // The same from the disk.
    let mut daemon = daemon;
    client.post(&format!("/v1/sessions/{running}/cancel?queue=true"), json!({})).await.expect(200);
    client.post(&format!("/v1/sessions/{waiting}/cancel"), json!({})).await.expect(200);
    let before = stats(&client, "").await["sessions"].clone();
    assert_eq!((&before["active_work"], &before["total"]), (&json!(0), &json!(3)));
    daemon.kill();
    daemon.start_again().await;
    let after = stats(&daemon.client(), "").await["sessions"].clone();
    for field in ["total", "active", "by_agent", "active_work", "queue_depth"] {
        assert_eq!(after[field], before[field], "{field}");
    }
}

/// The same as text for Prometheus, behind the same access rules.
async fn scraped(daemon: &Daemon, client: &Client) {
    let metrics = async |client: &Client| {
        let response = client.request("GET", "/metrics").send().await.expect("an answer");
        (response.status().as_u16(), response.text().await.expect("text"))
    };
    let (status, text) = metrics(client).await;
    assert_eq!(status, 200);
    for line in [
        "wharf_sessions{agent=\"demo\",status=\"running\"} 1",
        "wharf_sessions{agent=\"demo\",status=\"closed\"} 1",
        "wharf_queue_depth 2",
        "wharf_active_work 4",
        "# TYPE wharf_store_commit_seconds histogram",
    ] {
        assert!(text.lines().any(|l| l == line), "no {line:?} in\n{text}");
    }
    let value = |name: &str| -> f64 {
        let line = text.lines().find_map(|l| l.strip_prefix(name)).unwrap_or_else(|| panic!("no {name} in\n{text}"));
        line.trim().parse().expect("a number")
    };
    assert!(value("wharf_store_bytes ") > 0.0 && value("wharf_store_commit_seconds_count ") > 3.0);
    assert!(
        (value("wharf_store_commit_seconds_bucket{le=\"+Inf\"} ") - value("wharf_store_commit_seconds_count ")).abs()
            < 0.1
    );
    assert!(text.ends_with("# EOF\n"));
    let stranger = Client::tcp(&daemon.tcp(), None);
    assert_eq!(metrics(&stranger).await.0, 401, "behind the access rules");
    assert_eq!(stranger.get("/v1/stats").await.problem(401), "unauthorized");
    assert_eq!(metrics(&Client::tcp(&daemon.tcp(), Some(&daemon.token()))).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_users_turn_in_flight_is_told_for_a_project_and_automated_sessions_do_not_count() {
    let daemon = Daemon::start().await;
    let client = daemon.client();
    let project = async |name: &str| stats(&client, &format!("?project={name}")).await["sessions"].clone();
    let robot = json!({ "agent": "demo", "project": "p", "labels": { "wharf.automated": "true" } });
    let robot = busy(&client, robot).await;
    let now = project("p").await;
    assert_eq!((&now["busy"], &now["user_work"], &now["user_turn_in_flight"]), (&json!(1), &json!(0), &json!(false)));
    let person = busy(&client, json!({ "agent": "demo", "project": "p" })).await;
    let now = project("p").await;
    assert_eq!((&now["busy"], &now["user_work"], &now["user_turn_in_flight"]), (&json!(2), &json!(1), &json!(true)));
    assert_eq!(project("q").await["user_turn_in_flight"], false);
    client.post(&format!("/v1/sessions/{person}/cancel"), json!({})).await.expect(200);
    assert_eq!(project("p").await["user_turn_in_flight"], false);
    // A label that is taken off makes it a user's.
    client.patch(&format!("/v1/sessions/{robot}"), json!({ "labels": {} })).await.expect(200);
    assert_eq!(project("p").await["user_turn_in_flight"], true);
    client.delete(&format!("/v1/sessions/{robot}")).await.expect(200);
    client.delete(&format!("/v1/sessions/{person}")).await.expect(200);
    let closed = project("p").await;
    assert_eq!(
        (&closed["total"], &closed["active"], &closed["by_status"]["closed"]),
        (&json!(2), &json!(0), &json!(2))
    );
}
