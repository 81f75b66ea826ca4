//! `wharf events`: every session's events, each once and in order, across restarts of the daemon.

use std::process::ExitCode;

use clap::Args;
use reqwest::Response;
use tokio::time::Instant;

use super::Outcome;
use super::client::{Client, PATIENCE, Pause, Query};
use super::event::Event;
use super::failure::Failure;
use super::logs;
use super::sse::{Frame, Parser};
use super::ui::Ui;

const PAGE: &str = "1000";

/// Print all sessions' events, with -f as they come
#[derive(Args, Debug)]
pub(super) struct Events {
    /// Go on with new events as they come
    #[arg(long, short)]
    follow: bool,
    /// Only those after this cursor (the last line of --json without -f tells it), or `now`
    #[arg(long, value_name = "CURSOR")]
    after: Option<String>,
    /// Only of sessions in this workspace, by id or name
    #[arg(long, short, value_name = "ID")]
    workspace: Option<String>,
    /// Only of this session
    #[arg(long, short, value_name = "ID")]
    session: Option<String>,
    /// Only of this type; may be repeated
    #[arg(long = "type", short, value_name = "TYPE")]
    kind: Vec<String>,
}

#[derive(serde::Deserialize)]
struct Page {
    items: Vec<Box<serde_json::value::RawValue>>,
    next: Option<String>,
    cursor: String,
}

impl Events {
    pub(super) async fn run(self, client: &Client, ui: &Ui) -> Outcome {
        if self.follow {
            return self.follow(client, ui).await;
        }
        let mut after = self.after.clone();
        loop {
            let mut query = self.query(after.as_deref());
            query.push(("limit", PAGE.to_owned()));
            let page: Page = client.get(&["v1", "events"], &query).await?;
            for raw in page.items {
                print(raw.get().to_owned(), ui)?;
            }
            match page.next {
                Some(next) => after = Some(next),
                None if ui.json => {
                    ui.document(&serde_json::json!({ "cursor": page.cursor }))?;
                    return Ok(ExitCode::SUCCESS);
                }
                None => return Ok(ExitCode::SUCCESS),
            }
        }
    }

    fn query(&self, after: Option<&str>) -> Query {
        let named = [("after", after), ("workspace", self.workspace.as_deref()), ("session", self.session.as_deref())];
        let mut query: Query = named.into_iter().filter_map(|(name, value)| Some((name, value?.to_owned()))).collect();
        query.extend(self.kind.iter().map(|kind| ("type", kind.clone())));
        query
    }

    /// A connection that is lost is made again where it ended; it gives up when there is none for too long.
    async fn follow(&self, client: &Client, ui: &Ui) -> Outcome {
        let mut after = self.after.clone();
        let (mut pause, mut lost, mut told) = (Pause::default(), None, false);
        loop {
            let failure = match client.stream_all(&self.query(after.as_deref())).await {
                Ok(response) => {
                    (lost, told) = (None, false);
                    match read(response, &mut after, &mut pause, ui).await {
                        Ok(failure) => failure,
                        Err(failure) => return Err(failure),
                    }
                }
                Err(failure) if failure.passes() => failure,
                Err(failure) => return Err(failure),
            };
            if lost.get_or_insert_with(Instant::now).elapsed() > PATIENCE {
                return Err(failure);
            }
            if pause.tried() && !told {
                told = true;
                ui.note("the daemon does not answer; waiting for it to come back …");
            }
            pause.wait().await;
        }
    }
}

/// Prints what comes until the connection ends, and tells why it did.
async fn read(
    mut response: Response,
    after: &mut Option<String>,
    pause: &mut Pause,
    ui: &Ui,
) -> Result<Failure, Failure> {
    let mut parser = Parser::default();
    loop {
        let chunk = match response.chunk().await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => return Ok(Failure::unreachable("the daemon ended the stream".to_owned())),
            Err(e) => return Ok(Failure::unreachable(e.to_string())),
        };
        let mut frames = Vec::new();
        let taken = parser.take(&chunk, &mut frames);
        for Frame { id, json } in frames {
            *after = Some(id);
            *pause = Pause::default();
            print(json, ui)?;
        }
        taken.map_err(Failure::other)?;
    }
}

fn print(json: String, ui: &Ui) -> Result<(), Failure> {
    let event = Event::parse(json).map_err(Failure::other)?;
    if ui.json {
        return ui.line(&event.raw);
    }
    ui.line(&format!("{} {}", event.session, logs::line(&event)))
}
