//! What dies in the middle: the agent, the daemon, the container; and what is kept.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::agents::Agent;
use crate::scene::{Session, Stage};
use crate::support::{Event, docker_ok};

pub async fn the_agent_is_killed(agent: &'static Agent) {
    let stage = Stage::shared().await;
    let mut session = Session::free(&stage, agent).await;
    session.answer("say one").await;
    let agent_id = session.view().await["agent_session_id"].clone();
    let n = session.begin("slow 1000").await;
    let began = Instant::now();
    session.kill_agent().await;
    let exited = session.events.until_kind("agent.exited").await;
    assert!(began.elapsed() < Duration::from_secs(5), "noticed after {:?}", began.elapsed());
    assert_eq!((&exited.json["data"]["signal"], &exited.json["data"]["lost"]), (&json!(9), &json!(false)));
    let (_, end) = session.events.turn(n).await;
    assert_eq!(end["status"], "failed");
    assert!(end["error"]["message"].as_str().is_some_and(|m| m.contains("signal 9")), "{end}");
    let turns = session.turns().await;
    assert!(turns == 2 || turns == 3, "it remembers, and may remember what it died of: {turns}");
    let started = session.log().await.into_iter().rfind(|e| e["type"] == "agent.started").expect("started again");
    assert_eq!(started["data"]["resumed"], true);
    assert_eq!(session.view().await["agent_session_id"], agent_id);
    session.close().await;
}

pub async fn a_crash_loop_is_stopped(agent: &'static Agent) {
    let stage = Stage::shared().await;
    let mut session = Session::free(&stage, agent).await;
    session.answer("say one").await;
    for _ in 0..3 {
        let n = session.begin("slow 1000").await;
        session.kill_agent().await;
        assert_eq!(session.events.turn(n).await.1["status"], "failed");
    }
    let view = session.view().await;
    assert_eq!(view["status"], "error", "{view}");
    let told = view["error"]["message"].as_str().expect("a message");
    assert!(told.contains("3 times within a minute") && told.contains("restore"), "{told}");
    let log = session.log().await;
    assert_eq!(log.iter().filter(|e| e["type"] == "agent.exited").count(), 3);
    assert_eq!(log.iter().filter(|e| e["type"] == "agent.started").count(), 3, "and not a fourth time");
    assert_eq!(session.post("restore", json!({})).await.expect(200)["status"], "idle");
    assert!(session.turns().await >= 2, "nothing is forgotten");
    session.close().await;
}

pub async fn the_daemon_is_killed(agent: &'static Agent) {
    let mut stage = Stage::own().await;
    let mut session = Session::free(&stage, agent).await;
    let n = session.prompt("slow 30").await;
    let mut seen: Vec<Event> = Vec::new();
    while seen.iter().filter(|e| e.chunk().is_some()).count() < 3 {
        seen.push(session.events.next().await.expect("the stream goes on"));
    }
    stage.daemon.kill();
    // What was on its way is read to the end: it was durable, or it would not have been sent.
    seen.extend(session.events.rest().await);
    assert!(seen.iter().all(|e| e.kind() != "turn.ended"), "in the middle");
    stage.daemon.start_again().await;
    session.client = stage.daemon.client();
    session.events = session.client.events(&session.id, session.events.last()).await;
    while seen.last().is_none_or(|e| e.kind() != "turn.ended") {
        seen.push(session.events.next().await.expect("the stream goes on"));
    }
    let end = &seen.last().expect("events").json["data"];
    assert_eq!((&end["prompt"], &end["status"]), (&json!(n), &json!("done")));
    let chunks: String = seen.iter().filter_map(Event::chunk).collect();
    assert_eq!(chunks, (1..=30).map(|i| format!("chunk {i} ")).collect::<String>());
    let log = session.log().await;
    let seen: Vec<_> = seen.into_iter().map(|e| e.json).collect();
    assert_eq!(log[..seen.len()], seen, "the log is what the client saw, 1 to n");
    assert_eq!(log.iter().filter(|e| e["type"] == "agent.started").count(), 1, "the same process went on");
    if agent.real {
        assert_eq!(session.asked(&stage, "slow 30").len(), 1, "the prompt was given once");
    }
    assert_eq!(session.turns().await, 2);
    session.close().await;
}

pub async fn the_container_is_removed(agent: &'static Agent) {
    let stage = Stage::shared().await;
    let mut session = Session::free(&stage, agent).await;
    session.answer("run echo kept > kept").await;
    let agent_id = session.view().await["agent_session_id"].clone();
    let before = session.container().await;
    docker_ok(&["rm", "-f", &before]);
    session.events.until(|e| e.kind() == "session.status" && e.json["data"]["status"] == "suspended").await;
    assert_eq!(session.turns().await, 2, "it remembers");
    assert_ne!(session.container().await, before, "made again");
    assert!(session.has("/workspace/kept").await, "what it made is there");
    assert_eq!(session.view().await["agent_session_id"], agent_id);
    session.close().await;
}
