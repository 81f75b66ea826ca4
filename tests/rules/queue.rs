//! The queue: what is kept of a prompt, and for how long.

use serde_json::{Value, json};

use super::support::{Client, Daemon};

async fn prompts(client: &Client, id: &str) -> Vec<Value> {
    let page = client.get(&format!("/v1/sessions/{id}/prompts?limit=1000")).await.expect(200);
    page["items"].as_array().expect("a list").clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_keeps_its_original_time_over_a_crash() {
    let mut daemon = Daemon::start().await;
    let client = daemon.client();
    let id = client.demo("it:time").await;
    let mut events = client.events(&id, 0).await;
    client.prompt(&id, "slow 20").await;
    events.until(|e| e.chunk().is_some()).await;
    let waiting = client.prompt(&id, "echo waited").await;
    let before = prompts(&client, &id).await;
    daemon.kill();
    daemon.start_again().await;
    let client = daemon.client();
    assert_eq!(client.events(&id, 0).await.turn(waiting).await.0, "waited");
    let after = prompts(&client, &id).await;
    assert_eq!(after[1]["state"], "done");
    let times = |prompts: &[Value]| prompts.iter().map(|p| p["time"].clone()).collect::<Vec<_>>();
    assert_eq!(times(&after), times(&before));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_hundred_finished_prompts_are_kept() {
    let daemon = Daemon::start().await;
    let client = daemon.client();
    let id = client.demo("it:hundred").await;
    let path = format!("/v1/sessions/{id}/prompts");
    let keyed = async || {
        let request =
            client.request("POST", &path).header("Idempotency-Key", "k").json(&json!({ "content": "echo k" }));
        Client::send(request).await.expect("an answer").expect(202)["id"].as_u64().expect("a number")
    };
    let mut events = client.events(&id, 0).await;
    assert_eq!((keyed().await, keyed().await), (1, 1));
    assert_eq!(prompts(&client, &id).await[0]["idempotency_key"], "k");
    for n in 2..=101 {
        assert_eq!(client.prompt(&id, "echo x").await, n);
        events.turn(n).await;
    }
    let kept = prompts(&client, &id).await;
    assert_eq!((kept.len(), &kept[0]["id"], &kept[99]["id"]), (100, &json!(2), &json!(101)));
    assert_eq!(keyed().await, 102, "its prompt is forgotten, and so is the key");
    assert_eq!(client.session(&id).await["turns_used"].as_u64().map(|n| n >= 101), Some(true));
}
