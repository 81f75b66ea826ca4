//! What the model API refuses: the turn fails with its text and status, and the session goes on.

use serde_json::json;

use crate::agents::Agent;
use crate::scene::{Session, Stage};

pub async fn the_api_answers_400(agent: &'static Agent) {
    let asked = "the prompt was not to its taste";
    answers(agent, 400, asked, asked).await;
}

pub async fn the_api_answers_500(agent: &'static Agent) {
    let asked = "something broke in there";
    answers(agent, 500, asked, agent.own_words_for_500.unwrap_or(asked)).await;
}

/// `asked`: what the API says; `message`: what is to be told of it.
async fn answers(agent: &'static Agent, status: u16, asked: &str, message: &str) {
    let stage = Stage::shared().await;
    let mut session = Session::free(&stage, agent).await;
    let (text, end) = session.turn(&format!("error {status} {asked}")).await;
    assert_eq!(
        (&end["status"], &end["error"]["status"], &end["stop_reason"]),
        (&json!("failed"), &if agent.tells_status { json!(status) } else { json!(null) }, &json!(null)),
        "{text} {end}"
    );
    let told = end["error"]["message"].as_str().expect("a message");
    assert!(told.contains(message), "{told}");
    assert_eq!(session.view().await["status"], "idle");
    assert_eq!(session.answer("say fine").await, "fine");
    session.close().await;
}
