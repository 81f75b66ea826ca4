//! Rule: lists and lookups by workspace, agent, status, project, task id, MCP session id, label and app.

use serde_json::{Value, json};
use wharf::domain::{SessionId, SessionRecord, Timestamp, WorkspaceId};

use super::store_common::{batch, progress, session, workspace};
use super::store_of;
use super::support::{Client, Daemon};

async fn ids(client: &Client, query: &str) -> Vec<String> {
    let page = client.get(&format!("/v1/sessions?{query}")).await.expect(200);
    page["items"].as_array().expect("a list").iter().map(|s| s["id"].as_str().expect("an id").to_owned()).collect()
}

/// Every page of a list, two at a time.
async fn paged(client: &Client, query: &str) -> Vec<String> {
    let (mut all, mut after) = (Vec::new(), String::new());
    loop {
        let page = client.get(&format!("/v1/sessions?{query}&limit=2{after}")).await.expect(200);
        let items = page["items"].as_array().expect("a list");
        all.extend(items.iter().map(|s| s["id"].as_str().expect("an id").to_owned()));
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return all,
        }
    }
}

/// Every second session in one group of everything, every third closed.
async fn fill(daemon: &Daemon, home: &WorkspaceId, made: &[SessionId]) {
    let store = store_of(daemon);
    let mut all = batch(|b| {
        b.put_workspace(workspace(home));
    });
    for (n, id) in made.iter().enumerate() {
        let own = |what: &str| (n % 2 == 0).then(|| format!("{what}/1"));
        let closed = (n % 3 == 0).then(|| Timestamp::from_millis(1000 + n as i64));
        let record = SessionRecord {
            key: Some(format!("{}:{}", if n % 2 == 0 { "slack" } else { "slac" }, 99 - n).parse().expect("a key")),
            agent: id.agent().to_owned(),
            workspace: if n % 2 == 0 { home.clone() } else { session(id).workspace },
            project: own("project"),
            task_id: own("task"),
            mcp_session_id: own("mcp"),
            labels: own("label").into_iter().map(|value| ("team".to_owned(), value)).collect(),
            closed,
            ..session(id)
        };
        let mut come = progress(0);
        come.closed = closed;
        all.put_session(record).put_progress(id.clone(), &come);
    }
    store.commit(all).await.expect("durable");
    store.close().await.expect("closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_listed_by_workspace_agent_status_project_task_mcp_session_label_and_app() {
    let mut daemon = Daemon::prepared(&[], None);
    let home = WorkspaceId::new();
    let made: Vec<SessionId> = (0..12).map(|n| SessionId::new(if n % 2 == 0 { "demo" } else { "claude" })).collect();
    fill(&daemon, &home, &made).await;
    daemon.spawn();
    daemon.answers().await;
    let client = daemon.client();
    let wanted = |fits: &dyn Fn(usize) -> bool| -> Vec<String> {
        (0..12).rev().filter(|n| fits(*n)).map(|n| made[n].to_string()).collect()
    };
    let open_even = wanted(&|n| n % 2 == 0 && n % 3 != 0);
    let even = wanted(&|n| n % 2 == 0);
    let groups = [
        format!("workspace={home}"),
        "agent=demo".to_owned(),
        "project=project/1".to_owned(),
        "task_id=task/1".to_owned(),
        "mcp_session_id=mcp/1".to_owned(),
        "label=team=label/1".to_owned(),
        "app=slack".to_owned(),
        "app=slack&label=team=label/1&project=project/1&agent=demo".to_owned(),
    ];
    for group in groups {
        assert_eq!(ids(&client, &group).await, open_even, "{group}");
        assert_eq!(paged(&client, &group).await, open_even, "{group}, paged");
        assert_eq!(paged(&client, &format!("{group}&closed=true")).await, even, "{group}, closed ones too");
        assert_eq!(paged(&client, &format!("{group}&status=suspended")).await, open_even, "{group}, suspended");
        assert_eq!(ids(&client, &format!("{group}&status=running")).await, [""; 0], "{group}, running");
        let closed = wanted(&|n| n % 2 == 0 && n % 3 == 0);
        assert_eq!(paged(&client, &format!("{group}&status=closed")).await, closed, "{group}, closed");
    }
    assert_eq!(paged(&client, "closed=true").await, wanted(&|_| true));
    assert_eq!(paged(&client, "").await, wanted(&|n| n % 3 != 0));
    for none in ["project=project", "task_id=task", "label=team=label", "app=sla", "agent=dem", "mcp_session_id=m"] {
        assert_eq!(ids(&client, &format!("{none}&closed=true")).await, [""; 0], "{none}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_summary_is_the_first_text_of_the_conversation_else_the_key() {
    let daemon = Daemon::start().await;
    let client = daemon.client();
    let id = client.demo("sum:mary").await;
    let listed = async || client.get("/v1/sessions?app=sum").await.expect(200)["items"][0].clone();
    assert_eq!(listed().await["summary"], "sum:mary");
    client.turn(&id, "echo first").await;
    client.turn(&id, "echo second").await;
    let session: Value = listed().await;
    assert_eq!(session["summary"], json!("echo first"));
}
