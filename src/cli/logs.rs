//! `wharf logs`: a session's events.

use std::process::ExitCode;

use clap::Args;

use super::Outcome;
use super::client::{Client, Query};
use super::event::{Event, tool_title};
use super::failure::Failure;
use super::follow::Follow;
use super::ui::{Ui, cut};
use crate::session::SessionView;

const WIDTH: usize = 140;
const PAGE: &str = "1000";

/// Print a session's events, with -f as they come
#[derive(Args, Debug)]
pub(super) struct Logs {
    /// Id, key or the agent's own session id
    session: String,
    /// Go on with new events as they come
    #[arg(long, short)]
    follow: bool,
    /// Only those after this sequence number
    #[arg(long, value_name = "N", default_value_t = 0)]
    after: u64,
}

#[derive(serde::Deserialize)]
struct Page {
    items: Vec<Box<serde_json::value::RawValue>>,
    next: Option<u64>,
}

impl Logs {
    pub(super) async fn run(self, client: &Client, ui: &Ui) -> Outcome {
        let session: SessionView = client.get(&["v1", "sessions", &self.session], &Query::new()).await?;
        if self.follow {
            let mut follow = Follow::new(client, ui, session.id.as_str(), self.after);
            while let Some(event) = follow.next().await? {
                print(&event, ui)?;
            }
            return Ok(ExitCode::SUCCESS);
        }
        let mut after = Some(self.after);
        while let Some(from) = after {
            let query = vec![("after", from.to_string()), ("limit", PAGE.to_owned())];
            let page: Page = client.get(&["v1", "sessions", session.id.as_str(), "events"], &query).await?;
            for raw in page.items {
                print(&Event::parse(raw.get().to_owned()).map_err(Failure::other)?, ui)?;
            }
            after = page.next.filter(|next| *next > from);
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn print(event: &Event, ui: &Ui) -> Result<(), Failure> {
    if ui.json { ui.line(&event.raw) } else { ui.line(&line(event)) }
}

/// An event in one line.
pub(super) fn line(event: &Event) -> String {
    let turn = event.turn.as_deref().unwrap_or("-");
    let text = match event.kind.as_str() {
        "update" => format!("{} {}", update(event), about(event)),
        _ => event.data.to_string(),
    };
    let time = event.time.to_string();
    let time = time.get(11..23).unwrap_or(&time);
    cut(&format!("{:>6} {time} {turn:8} {} {}", event.seq, event.kind, text.trim_end()), WIDTH)
}

/// What an update says, or what it is about.
fn about(event: &Event) -> String {
    match event.data.pointer("/content/text").and_then(serde_json::Value::as_str) {
        Some(text) => format!("{text:?}"),
        None if event.data.get("title").is_some() => tool_title(&event.data),
        None => String::new(),
    }
}

fn update(event: &Event) -> &str {
    event.data.get("sessionUpdate").and_then(serde_json::Value::as_str).unwrap_or("?")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line() {
        let line = |json: &str| line(&Event::parse(json.to_owned()).unwrap());
        let said = r#"{"seq":7,"session":"s","turn":"turn_2","time":"2026-01-01T10:20:30.456Z","type":"update","data":
            {"sessionUpdate":"agent_message_chunk","content":{"type":"text","text":"a\nb"}}}"#;
        assert_eq!(line(said), "     7 10:20:30.456 turn_2   update agent_message_chunk \"a\\nb\"");
        let status = r#"{"seq":1,"session":"s","turn":null,"time":"2026-01-01T10:20:30.456Z","type":"session.status",
            "data":{"status":"idle"}}"#;
        assert_eq!(line(status), "     1 10:20:30.456 -        session.status {\"status\":\"idle\"}");
    }
}
