//! `wharf approve`: answers what an agent asks permission for.

use std::io::{BufRead as _, IsTerminal as _};
use std::process::ExitCode;

use clap::Args;
use reqwest::Method;
use serde_json::json;

use super::Outcome;
use super::client::{Client, Query};
use super::event::tool_title;
use super::failure::Failure;
use super::ui::{Ui, cut, name};
use crate::domain::{Page, PermissionOption, PermissionOptionKind, PermissionRecord};
use crate::session::PermissionAnswer;

const WIDTH: usize = 160;

/// Answer what an agent asks permission for
///
/// Without an answer: asks on a terminal, else lists what is asked.
#[derive(Args, Debug)]
pub(super) struct Approve {
    /// Id, key or the agent's own session id
    session: String,
    /// The request's id [default: the one that is pending]
    #[arg(value_name = "PID")]
    permission: Option<String>,
    /// Answer with this option
    #[arg(long, value_name = "ID", group = "answer")]
    option: Option<String>,
    /// Allow it once
    #[arg(long, group = "answer")]
    allow: bool,
    /// Allow it and all alike
    #[arg(long, group = "answer")]
    always: bool,
    /// Reject it
    #[arg(long, group = "answer")]
    deny: bool,
}

impl Approve {
    pub(super) async fn run(self, client: &Client, ui: &Ui) -> Outcome {
        let pending = pending(client, &self.session).await?;
        let answer = self.answer();
        if answer.is_none() && (ui.json || !std::io::stdin().is_terminal()) {
            list(&pending, ui)?;
            return Ok(ExitCode::SUCCESS);
        }
        let request = choose(&pending, self.permission.as_deref(), answer.is_some())?;
        let (id, answer) = match (request, answer) {
            (Some(request), Some(answer)) => (request.id.clone(), answer),
            // Not pending any more, or never was: the daemon knows which.
            (None, Some(answer)) => (self.permission.clone().unwrap_or_default(), answer),
            (Some(request), None) => {
                ui.warn(&question(request, ui));
                (request.id.clone(), ask(request, ui)?)
            }
            (None, None) => return Err(Failure::usage("there is no such request; `wharf approve SESSION` lists them")),
        };
        let record = submit(client, &self.session, &id, &answer).await?;
        match ui.json {
            true => ui.document(&record)?,
            false => ui.line(&format!("{} is answered", record.id))?,
        }
        Ok(ExitCode::SUCCESS)
    }

    fn answer(&self) -> Option<PermissionAnswer> {
        let kind = match (self.allow, self.always, self.deny) {
            (true, ..) => Some(PermissionOptionKind::AllowOnce),
            (_, true, _) => Some(PermissionOptionKind::AllowAlways),
            (.., true) => Some(PermissionOptionKind::RejectOnce),
            _ => None,
        };
        (self.option.is_some() || kind.is_some()).then(|| PermissionAnswer { option_id: self.option.clone(), kind })
    }
}

fn choose<'a>(
    pending: &'a [PermissionRecord],
    id: Option<&str>,
    answered: bool,
) -> Result<Option<&'a PermissionRecord>, Failure> {
    match (id, pending) {
        (Some(id), _) => Ok(pending.iter().find(|request| request.id == id)),
        (None, [only]) => Ok(Some(only)),
        (None, []) => Err(Failure::usage("nothing is asked in this session")),
        (None, [first, ..]) if !answered => Ok(Some(first)),
        (None, several) => {
            let ids: Vec<&str> = several.iter().map(|request| request.id.as_str()).collect();
            Err(Failure::usage(format!("several requests are pending ({}): name one", ids.join(", "))))
        }
    }
}

/// What is pending, oldest first.
pub(super) async fn pending(client: &Client, session: &str) -> Result<Vec<PermissionRecord>, Failure> {
    let path = ["v1", "sessions", session, "permissions"];
    let page: Page<PermissionRecord> = client.get(&path, &Query::new()).await?;
    Ok(page.items)
}

/// Gives an answer.
pub(super) async fn submit(
    client: &Client,
    session: &str,
    id: &str,
    answer: &PermissionAnswer,
) -> Result<PermissionRecord, Failure> {
    let path = ["v1", "sessions", session, "permissions", id];
    Ok(client.submit(Method::POST, &path, answer).await?.1)
}

fn list(pending: &[PermissionRecord], ui: &Ui) -> Result<(), Failure> {
    if ui.json {
        return ui.document(&json!({"items": pending}));
    }
    if pending.is_empty() {
        ui.note("nothing is asked");
    }
    pending.iter().try_for_each(|request| ui.line(&question(request, ui)))
}

/// A request and its options, numbered.
pub(super) fn question(request: &PermissionRecord, ui: &Ui) -> String {
    let mut text = format!("{}: {}", request.id, cut(&tool_title(&request.tool_call), WIDTH));
    for (n, option) in (1..).zip(&request.options) {
        text.push_str(&format!("\n  {n}  {} ({})", cut(&option.name, WIDTH), name(&option.kind)));
    }
    ui.clean(&text).into_owned()
}

fn ask(request: &PermissionRecord, ui: &Ui) -> Result<PermissionAnswer, Failure> {
    let mut lines = std::io::stdin().lock().lines();
    loop {
        ui.warn_part("number: ");
        let line = lines.next().ok_or_else(|| Failure::usage("no answer was given"))??;
        match by_number(&request.options, &line) {
            Some(answer) => return Ok(answer),
            None => ui.warn(&format!("a number from 1 to {}", request.options.len())),
        }
    }
}

/// The option of this number, counted from 1.
pub(super) fn by_number(options: &[PermissionOption], text: &str) -> Option<PermissionAnswer> {
    let n: usize = text.trim().parse().ok()?;
    let option = options.get(n.checked_sub(1)?)?;
    Some(PermissionAnswer { option_id: Some(option.option_id.clone()), kind: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn option(id: &str) -> PermissionOption {
        PermissionOption { option_id: id.into(), name: id.to_uppercase(), kind: PermissionOptionKind::AllowOnce }
    }

    fn request(id: &str) -> PermissionRecord {
        PermissionRecord {
            id: id.into(),
            prompt: Some(1),
            time: crate::domain::Timestamp::from_millis(0),
            tool_call: json!({"title": "rm \u{1b}[2Jx"}),
            options: vec![option("a"), option("b")],
            state: crate::domain::PermissionState::Pending,
            option_id: None,
        }
    }

    #[test]
    fn options_are_numbered_from_one() {
        let options = [option("a"), option("b")];
        assert_eq!(by_number(&options, " 2 ").unwrap().option_id.as_deref(), Some("b"));
        for bad in ["0", "3", "", "x", "-1"] {
            assert!(by_number(&options, bad).is_none(), "{bad}");
        }
        let text = question(&request("p"), &Ui::new(false));
        assert_eq!(text, "p: rm [2Jx\n  1  A (allow_once)\n  2  B (allow_once)");
    }

    #[test]
    fn an_answer_for_several_has_to_name_one() {
        let (one, two) = ([request("p")], [request("p"), request("q")]);
        assert_eq!(choose(&one, None, true).unwrap().unwrap().id, "p");
        assert_eq!(choose(&two, Some("q"), true).unwrap().unwrap().id, "q");
        assert!(choose(&two, None, true).is_err());
        assert_eq!(choose(&two, None, false).unwrap().unwrap().id, "p");
        assert!(choose(&[], None, true).is_err());
        assert!(choose(&one, Some("gone"), true).unwrap().is_none());
    }
}
