//! `wharf send`: a prompt, and the answer as it comes.

use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::client::Client;
use super::event::TurnEnded;
use super::failure::{Failure, code, turn_code};
use super::interrupt::Interrupts;
use super::render::Renderer;
use super::turn::{Prompt, Step, Turn};
use super::ui::Ui;
use super::{Outcome, parse};
use crate::domain::WhenBusy;

/// Send a prompt and print the answer as it comes
///
/// What the agent says goes to stdout, what it does to stderr. Ctrl-C cancels the turn; a second one leaves it running.
/// If the daemon is restarted meanwhile, the answer goes on where it was.
#[derive(Args, Debug)]
pub(super) struct Send {
    /// Id, key or the agent's own session id
    session: String,
    /// The prompt; `-` reads it from stdin
    #[arg(required = true, value_name = "TEXT")]
    text: Vec<String>,
    /// A key that makes a repeated send of the same prompt harmless
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// What to do when a turn runs
    #[arg(long, value_enum, default_value = "queue")]
    when_busy: Busy,
    /// Return as soon as the prompt is accepted
    #[arg(long)]
    no_wait: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Busy {
    /// Wait behind it
    Queue,
    /// Refuse (exit code 8)
    Reject,
    /// Cancel it
    Interrupt,
}

impl Send {
    pub(super) async fn run(self, client: &Client, ui: &Ui) -> Outcome {
        let when_busy = match self.when_busy {
            Busy::Queue => WhenBusy::Queue,
            Busy::Reject => WhenBusy::Reject,
            Busy::Interrupt => WhenBusy::Interrupt,
        };
        let prompt = Prompt { text: parse::prompt(&self.text)?, when_busy, key: self.idempotency_key };
        let mut interrupts = Interrupts::listen()?;
        let Some(turn) = post(client, ui, &self.session, prompt, &mut interrupts).await? else {
            return Ok(ExitCode::from(code::DETACHED));
        };
        if self.no_wait {
            match ui.json {
                true => ui.document(&turn.accepted)?,
                false => ui.line(&turn.accepted.turn)?,
            }
            return Ok(ExitCode::SUCCESS);
        }
        if turn.accepted.position > 0 {
            ui.note(&format!("· {} before it", turn.accepted.position));
        }
        show(turn, ui, interrupts).await
    }
}

/// Posts a prompt; `None`: the user did not want to wait for its being accepted.
pub(super) async fn post<'a>(
    client: &'a Client,
    ui: &'a Ui,
    session: &str,
    prompt: Prompt,
    interrupts: &mut Interrupts,
) -> Result<Option<Turn<'a>>, Failure> {
    tokio::select! {
        turn = Turn::post(client, ui, session, prompt) => turn.map(Some),
        () = interrupts.next() => {
            ui.note("\n· the prompt may have been accepted: `wharf logs` tells");
            Ok(None)
        }
    }
}

/// Prints a turn to its end.
pub(super) async fn show(mut turn: Turn<'_>, ui: &Ui, mut interrupts: Interrupts) -> Outcome {
    let mut renderer = Renderer::new(ui);
    let mut interrupted = false;
    loop {
        let step = tokio::select! {
            step = turn.next() => step?,
            () = interrupts.next() => {
                if interrupted {
                    return left(&turn, &mut renderer, ui);
                }
                interrupted = true;
                ui.note("\n· cancelling; Ctrl-C again leaves it running");
                let cancelled = tokio::select! {
                    cancelled = turn.cancel() => cancelled,
                    () = interrupts.next() => return left(&turn, &mut renderer, ui),
                };
                if let Err(failure) = cancelled {
                    ui.warn(failure.message());
                }
                continue;
            }
        };
        match step {
            Step::Event(event) => renderer.event(&event)?,
            Step::End(event, ended) => {
                if let Some(event) = &event {
                    renderer.event(event)?;
                }
                renderer.end()?;
                return Ok(outcome(&ended));
            }
        }
    }
}

/// The user wants out, and the turn goes on.
fn left(turn: &Turn<'_>, renderer: &mut Renderer<'_>, ui: &Ui) -> Outcome {
    renderer.end()?;
    ui.note(&format!("· {} is left running", turn.accepted.turn));
    Ok(ExitCode::from(code::DETACHED))
}

fn outcome(ended: &TurnEnded) -> ExitCode {
    ExitCode::from(turn_code(ended.status))
}
