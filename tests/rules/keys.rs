//! Keys, and what a session keeps of who asks for it again.

use serde_json::json;

use super::support::Daemon;

#[tokio::test(flavor = "multi_thread")]
async fn a_bare_name_is_in_the_default_app_and_a_key_is_split_at_its_first_colon() {
    let daemon = Daemon::start().await;
    let client = daemon.client();
    let bare = client.demo("plain").await;
    let colons = client.demo("app:a:b").await;
    assert_eq!(client.session("default:plain").await["id"], bare.as_str());
    assert_eq!(client.session("plain").await["key"], "default:plain");
    let of_app = client.get("/v1/sessions?app=app").await.expect(200);
    let ids: Vec<_> = of_app["items"].as_array().expect("a list").iter().map(|s| s["id"].clone()).collect();
    assert_eq!(ids, [json!(colons)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_known_key_returns_its_session_touches_its_activity_and_updates_its_model() {
    let daemon = Daemon::start().await;
    let client = daemon.client();
    let id = client.demo("it:known").await;
    client.turn(&id, "echo one").await;
    let before = client.session(&id).await;
    let again = client.post("/v1/sessions", json!({ "agent": "demo", "key": "it:known" })).await.expect(200);
    assert_eq!((&again["id"], &again["last_seq"]), (&before["id"], &before["last_seq"]));
    assert!(again["updated"].as_str() > before["updated"].as_str(), "{again} {before}");
    let body = json!({ "agent": "demo", "key": "it:known", "model": "demo-2" });
    assert_eq!(client.post("/v1/sessions", body).await.expect(200)["model"], "demo-2");
    assert_eq!(client.turn(&id, "model?").await.0, "demo-2", "the agent that runs was told");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_at_once_make_one_session() {
    let daemon = Daemon::start().await;
    let client = daemon.client();
    let ask = || client.post("/v1/sessions", json!({ "agent": "demo", "key": "it:both" }));
    let (a, b, c, d) = tokio::join!(ask(), ask(), ask(), ask());
    let mut statuses = [a.status, b.status, c.status, d.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 200, 201]);
    assert!([&b, &c, &d].iter().all(|other| other.json["id"] == a.json["id"]));
    let all = client.get("/v1/sessions?closed=true").await.expect(200);
    assert_eq!(all["items"].as_array().map(Vec::len), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_the_context_the_newest_channel_wins_and_the_first_project_stays() {
    let daemon = Daemon::start().await;
    let client = daemon.client();
    let ask = async |context: serde_json::Value| {
        let mut body = json!({ "agent": "demo", "key": "it:context" });
        body.as_object_mut().expect("an object").extend(context.as_object().expect("an object").clone());
        let session = client.post("/v1/sessions", body).await.json;
        (session["channel"].clone(), session["project"].clone())
    };
    assert_eq!(ask(json!({ "channel": "web" })).await, (json!("web"), json!(null)));
    assert_eq!(ask(json!({ "project": "one" })).await, (json!("web"), json!("one")));
    assert_eq!(ask(json!({ "channel": "chat", "project": "two" })).await, (json!("chat"), json!("one")));
    assert_eq!(ask(json!({})).await, (json!("chat"), json!("one")));
}
