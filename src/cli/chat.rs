//! `wharf chat`: talk in turns, with permissions asked for right there.

use std::process::ExitCode;

use clap::Args;
use reqwest::Method;
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;
use serde_json::json;

use super::client::{Client, Query};
use super::failure::{Failure, code};
use super::interrupt::Interrupts;
use super::render::Renderer;
use super::turn::{Prompt, Step, Turn};
use super::ui::{Ui, name};
use super::{Outcome, approve, send};
use crate::domain::WhenBusy;
use crate::session::{Cancelled, SessionView};

const HELP: &str = "\
/status             how the session stands
/model NAME         change the model
/permissions [ask|allow|deny]   what is asked now, or what happens when something is asked
/cancel             end the running turn
/quit               leave; the session stays (Ctrl-D too)
Anything else is a prompt. While the agent works, Ctrl-C cancels the turn, a second one leaves it running.";

/// Talk in turns; permissions are asked for right there
///
/// If the daemon is restarted meanwhile, the conversation goes on where it was.
#[derive(Args, Debug)]
pub(super) struct Chat {
    /// Id, key or the agent's own session id
    session: String,
}

/// What a line means.
#[derive(Debug, PartialEq, Eq)]
enum Line<'a> {
    Nothing,
    Help,
    Status,
    Cancel,
    Quit,
    Model(&'a str),
    Permissions(Option<&'a str>),
    Unknown(&'a str),
    Prompt(&'a str),
}

fn meaning(line: &str) -> Line<'_> {
    let line = line.trim();
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    match (word, rest.trim()) {
        ("", _) => Line::Nothing,
        ("/help" | "/?", _) => Line::Help,
        ("/status", _) => Line::Status,
        ("/cancel", _) => Line::Cancel,
        ("/quit" | "/exit" | "/q", _) => Line::Quit,
        ("/model", model) if !model.is_empty() => Line::Model(model),
        ("/permissions", "") => Line::Permissions(None),
        ("/permissions", policy) => Line::Permissions(Some(policy)),
        // A path or a command of the agent's own may begin with a slash too; only one word alone is surely a mistake.
        (word, "") if word.starts_with('/') && !word[1..].contains('/') => Line::Unknown(word),
        _ => Line::Prompt(line),
    }
}

impl Chat {
    pub(super) async fn run(self, client: &Client, ui: &Ui) -> Outcome {
        let session: SessionView = client.get(&["v1", "sessions", &self.session], &Query::new()).await?;
        let editor = DefaultEditor::new().map_err(|e| Failure::other(format!("cannot read lines: {e}")))?;
        let mut talk = Talk { client, ui, id: session.id.to_string(), editor: Some(editor) };
        ui.note(&format!("· {} is {}; /help says what else there is", session.id, name(&session.status)));
        talk.ask_pending().await?;
        loop {
            let Some(line) = talk.read("› ").await? else { return Ok(ExitCode::SUCCESS) };
            let done = match meaning(&line) {
                Line::Quit => return Ok(ExitCode::SUCCESS),
                Line::Prompt(text) => match talk.turn(text).await {
                    Ok(true) => Ok(()),
                    Ok(false) => return Ok(ExitCode::from(code::DETACHED)),
                    Err(failure) => Err(failure),
                },
                line => talk.command(line).await,
            };
            // A refusal is part of the conversation, not its end.
            if let Err(failure) = done {
                let _ = failure.report(ui);
            }
        }
    }
}

struct Talk<'a> {
    client: &'a Client,
    ui: &'a Ui,
    id: String,
    /// Away while a thread reads a line with it.
    editor: Option<DefaultEditor>,
}

impl Talk<'_> {
    /// A line; `None` at the end of input. Ctrl-C gives an empty line.
    async fn read(&mut self, prompt: &'static str) -> Result<Option<String>, Failure> {
        let mut editor = self.editor.take().ok_or_else(|| Failure::other("the line editor is lost"))?;
        let read = tokio::task::spawn_blocking(move || {
            let line = editor.readline(prompt);
            if let Ok(line) = &line {
                // Kept in memory only: what is typed may be secret.
                let _ = editor.add_history_entry(line);
            }
            (editor, line)
        });
        let (editor, line) = read.await.map_err(|e| Failure::other(format!("cannot read lines: {e}")))?;
        self.editor = Some(editor);
        match line {
            Ok(line) => Ok(Some(line)),
            Err(ReadlineError::Interrupted) => Ok(Some(String::new())),
            Err(ReadlineError::Eof) => Ok(None),
            Err(e) => Err(Failure::other(format!("cannot read lines: {e}"))),
        }
    }

    /// One turn; `false`: it was left running and the user wants out.
    async fn turn(&mut self, text: &str) -> Result<bool, Failure> {
        let prompt = Prompt { text: text.to_owned(), when_busy: WhenBusy::Queue, key: None };
        let (client, ui, id) = (self.client, self.ui, self.id.clone());
        let mut interrupts = Interrupts::listen()?;
        let Some(mut turn) = send::post(client, ui, &id, prompt, &mut interrupts).await? else { return Ok(true) };
        let mut renderer = Renderer::new(ui);
        let mut interrupted = false;
        loop {
            let step = tokio::select! {
                step = turn.next() => step?,
                () = interrupts.next() => {
                    if interrupted || !cancel(&turn, &mut interrupts, ui).await {
                        renderer.end()?;
                        ui.note("· the turn is left running");
                        return Ok(false);
                    }
                    interrupted = true;
                    continue;
                }
            };
            match step {
                // The question tells what is asked: the event would tell it twice.
                Step::Event(event) if event.kind == "permission.requested" && !interrupted && !self.ui.json => {
                    renderer.end()?;
                    self.ask_pending().await?;
                }
                Step::Event(event) => renderer.event(&event)?,
                Step::End(event, _) => {
                    event.iter().try_for_each(|event| renderer.event(event))?;
                    renderer.end()?;
                    return Ok(true);
                }
            }
        }
    }

    /// Asks for everything that is pending, one after another.
    async fn ask_pending(&mut self) -> Result<(), Failure> {
        for request in approve::pending(self.client, &self.id).await? {
            let question = format!("? permission {}", approve::question(&request, self.ui));
            self.ui.warn(&self.ui.bold(&question));
            let answer = loop {
                match self.read("number › ").await? {
                    None => return Ok(()),
                    Some(line) => match approve::by_number(&request.options, &line) {
                        Some(answer) => break answer,
                        None if line.trim() == "/cancel" => return self.cancel().await,
                        None => self.ui.note(&format!("a number from 1 to {}, or /cancel", request.options.len())),
                    },
                }
            };
            if let Err(failure) = approve::submit(self.client, &self.id, &request.id, &answer).await {
                // Answered elsewhere, or withdrawn: told, and the conversation goes on.
                let _ = failure.report(self.ui);
            }
        }
        Ok(())
    }

    async fn change(&self, field: &str, value: &str) -> Result<(), Failure> {
        let path = ["v1", "sessions", &self.id];
        let (_, session): (_, SessionView) = self.client.submit(Method::PATCH, &path, &json!({field: value})).await?;
        self.ui.note(&status(&session));
        Ok(())
    }

    async fn cancel(&self) -> Result<(), Failure> {
        let path = ["v1", "sessions", &self.id, "cancel"];
        let cancelled: Cancelled = self.client.call(Method::POST, &path, &Query::new()).await?;
        self.ui.note(&cancelled.turn.map_or("· no turn ran".to_owned(), |turn| format!("· {turn} is cancelled")));
        Ok(())
    }

    async fn command(&mut self, line: Line<'_>) -> Result<(), Failure> {
        match line {
            Line::Help => self.ui.warn(HELP),
            Line::Unknown(word) => self.ui.warn(&format!("there is no {word}; /help lists what there is")),
            Line::Model(model) => self.change("model", model).await?,
            Line::Permissions(Some(policy)) => self.change("permissions", policy).await?,
            Line::Permissions(None) => {
                self.ask_pending().await?;
                self.ui.note("· nothing else is asked");
            }
            Line::Status => {
                let session: SessionView = self.client.get(&["v1", "sessions", &self.id], &Query::new()).await?;
                self.ui.note(&status(&session));
            }
            Line::Cancel => self.cancel().await?,
            Line::Nothing | Line::Quit | Line::Prompt(_) => {}
        }
        Ok(())
    }
}

/// Ends a turn; `false`: the user did not want to wait for its end.
async fn cancel(turn: &Turn<'_>, interrupts: &mut Interrupts, ui: &Ui) -> bool {
    ui.note("\n· cancelling; Ctrl-C again leaves it running");
    let cancelled = tokio::select! {
        cancelled = turn.cancel() => cancelled,
        () = interrupts.next() => return false,
    };
    if let Err(failure) = cancelled {
        let _ = failure.report(ui);
    }
    true
}

fn status(session: &SessionView) -> String {
    let model = session.model.as_deref().map(|model| format!(", model {model}")).unwrap_or_default();
    let (status, policy) = (name(&session.status), name(&session.permissions));
    format!("· {status}, {} turns, {} waiting, permissions {policy}{model}", session.turns, session.queued)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_told_from_prompts() {
        assert_eq!(meaning("  "), Line::Nothing);
        assert_eq!(meaning("/model opus 4"), Line::Model("opus 4"));
        assert_eq!(meaning("/model"), Line::Unknown("/model"));
        assert_eq!(meaning("/permissions allow"), Line::Permissions(Some("allow")));
        assert_eq!(meaning("/permissions"), Line::Permissions(None));
        assert_eq!(meaning("/quit"), Line::Quit);
        assert_eq!(meaning("/etc/passwd"), Line::Prompt("/etc/passwd"));
        assert_eq!(meaning("/compact now"), Line::Prompt("/compact now"));
        assert_eq!(meaning(" hello /x "), Line::Prompt("hello /x"));
    }
}
