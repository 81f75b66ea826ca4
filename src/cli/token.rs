//! `wharf token`: who may ask over TCP, and what.

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use reqwest::Method;
use serde_json::json;

use super::Outcome;
use super::client::{Client, Query};
use super::failure::Failure;
use super::ui::{Ui, age};
use crate::api::{FIRST_TOKEN, MadeToken, NewToken, Scope, TokenView};
use crate::domain::{Page, Timestamp};

/// List, create, rotate and revoke the tokens for TCP
///
/// A token has a scope: `read` sees everything, `prompt` also talks with agents, `admin` does everything. It is shown
/// once, when it is made: the daemon keeps its hash. One that is revoked is refused at once.
#[derive(Args, Debug)]
pub(super) struct Token {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List them (the default)
    Ls,
    /// Make one and print it
    Create {
        /// A unique name
        name: String,
        /// What it may do
        #[arg(long, value_enum, default_value = "prompt")]
        scope: ScopeName,
    },
    /// Give one another secret; that of `default` goes into the state directory
    Rotate {
        /// Its name
        #[arg(default_value = FIRST_TOKEN)]
        name: String,
    },
    /// Revoke one: what it has open is ended
    Rm {
        /// Its name
        name: String,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ScopeName {
    /// See everything, change nothing
    Read,
    /// Talk with agents, too
    Prompt,
    /// Everything
    Admin,
}

impl From<ScopeName> for Scope {
    fn from(name: ScopeName) -> Self {
        match name {
            ScopeName::Read => Self::Read,
            ScopeName::Prompt => Self::Prompt,
            ScopeName::Admin => Self::Admin,
        }
    }
}

impl Token {
    pub(super) async fn run(self, client: &Client, ui: &Ui) -> Outcome {
        let path = ["v1", "tokens"];
        match self.action.unwrap_or(Action::Ls) {
            Action::Ls => list(client.get::<Page<TokenView>>(&path, &Query::new()).await?.items, ui)?,
            Action::Create { name, scope } => {
                let new = NewToken { name, scope: scope.into() };
                let (_, made): (_, MadeToken) = client.submit(Method::POST, &path, &new).await?;
                show(&made, ui)?;
            }
            Action::Rotate { name } => {
                let path = ["v1", "tokens", &name, "rotate"];
                let made: MadeToken = client.call(Method::POST, &path, &Query::new()).await?;
                if name == FIRST_TOKEN && !ui.json {
                    ui.note("· it lies in the state directory, where the command line looks for it");
                }
                show(&made, ui)?;
            }
            Action::Rm { name } => {
                let view: TokenView = client.call(Method::DELETE, &["v1", "tokens", &name], &Query::new()).await?;
                match ui.json {
                    true => ui.document(&view)?,
                    false => ui.line(&format!("{} is revoked", view.name))?,
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn show(made: &MadeToken, ui: &Ui) -> Result<(), Failure> {
    if ui.json {
        return ui.document(made);
    }
    ui.note(&format!("· {} ({}); this is shown once:", made.view.name, made.view.scope.name()));
    ui.line(&made.token)
}

fn list(tokens: Vec<TokenView>, ui: &Ui) -> Result<(), Failure> {
    if ui.json {
        return ui.document(&json!({"items": tokens}));
    }
    let now = Timestamp::now();
    let row = |token: TokenView| vec![token.name, token.scope.name().to_owned(), age(token.created, now)];
    ui.table(&["TOKEN", "SCOPE", "AGE"], tokens.into_iter().map(row).collect())
}
