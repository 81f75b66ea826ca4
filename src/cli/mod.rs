//! The command line: one file for each command, all of them clients of the HTTP API.

mod agents;
mod approve;
mod cancel;
mod chat;
mod client;
mod completions;
mod daemon;
mod diff;
mod discover;
mod doctor;
mod event;
mod events;
mod failure;
mod files;
mod follow;
mod help;
mod host;
mod interrupt;
mod logs;
mod ls;
mod new;
mod parse;
mod prompts;
mod raw;
mod recreate;
mod render;
mod reset;
mod restore;
mod rm;
mod send;
mod shell;
mod show;
mod socket;
mod sse;
mod stats;
mod terminal;
mod token;
mod turn;
mod ui;
mod workspaces;

use std::process::ExitCode;

use clap::{Args, FromArgMatches as _, Parser, Subcommand};

use client::Client;
use failure::Failure;
use ui::Ui;

/// What every command gives.
type Outcome = Result<ExitCode, Failure>;

/// A container of its own for every coding-agent session, and none is ever lost.
#[derive(Debug, Parser)]
#[command(name = "wharf", version, help_template = help::TEMPLATE, after_help = help::COMMANDS)]
#[command(disable_help_subcommand = true, max_term_width = 110)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// Options of every command.
#[derive(Args, Clone, Debug, Default)]
struct Common {
    /// unix:///PATH or http://127.0.0.1:PORT; else WHARF_HOST
    #[arg(
        long,
        global = true,
        env = "WHARF_HOST",
        hide_env = true,
        hide_env_values = true,
        value_name = "URL",
        display_order = 900
    )]
    host: Option<String>,
    /// Print JSON: a document, or a line for each event
    #[arg(long, global = true, display_order = 901)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    Daemon(daemon::Daemon),
    Host(host::Host),
    New(Box<new::New>),
    Send(send::Send),
    Chat(chat::Chat),
    Logs(logs::Logs),
    Events(events::Events),
    Stats(stats::Stats),
    Cancel(cancel::Cancel),
    Approve(approve::Approve),
    Ls(ls::Ls),
    Show(show::Show),
    Set(show::Set),
    Prompts(prompts::Prompts),
    Restore(restore::Restore),
    Reset(reset::Reset),
    Recreate(recreate::Recreate),
    Rm(rm::Rm),
    #[command(alias = "workspace", alias = "ws")]
    Workspaces(workspaces::Workspaces),
    Shell(shell::Shell),
    Token(token::Token),
    Agents(agents::Agents),
    Doctor(doctor::Doctor),
    Completions(completions::Completions),
    Help(help::Help),
}

/// Runs the command that was asked for.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match help::command().try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        // With WHARF_HOST set, clap takes an empty line for one that lacks its command.
        Err(e) if e.kind() == clap::error::ErrorKind::MissingSubcommand => {
            eprint!("{}", help::command().render_help());
            return ExitCode::from(failure::code::USAGE);
        }
        Err(e) => e.exit(),
    };
    let ui = Ui::new(cli.common.json);
    let outcome = match cli.command {
        Command::Daemon(command) => command.run(),
        Command::Host(command) => command.run(),
        Command::Completions(command) => command.run(&ui),
        Command::Help(command) => command.run(&ui),
        command => runtime(false).and_then(|runtime| {
            let outcome = runtime.block_on(run(command, &cli.common, &ui));
            // A thread that still waits for a line of input must not hold the end up.
            runtime.shutdown_background();
            outcome
        }),
    };
    outcome.unwrap_or_else(|failure| failure.report(&ui))
}

/// An engine for async code: with threads for the daemon, without for its clients.
fn runtime(threads: bool) -> Result<tokio::runtime::Runtime, Failure> {
    let mut builder = if threads {
        tokio::runtime::Builder::new_multi_thread()
    } else {
        tokio::runtime::Builder::new_current_thread()
    };
    builder.enable_all().build().map_err(|e| Failure::other(format!("cannot start: {e}")))
}

async fn run(command: Command, common: &Common, ui: &Ui) -> Outcome {
    let client = Client::connect(common.host.as_deref())?;
    match command {
        // These need no client and never come here.
        Command::Daemon(command) => command.run(),
        Command::Host(command) => command.run(),
        Command::Completions(command) => command.run(ui),
        Command::Help(command) => command.run(ui),
        Command::Shell(command) => command.run(&client, ui).await,
        Command::Token(command) => command.run(&client, ui).await,
        Command::New(command) => command.run(&client, ui).await,
        Command::Send(command) => command.run(&client, ui).await,
        Command::Chat(command) => command.run(&client, ui).await,
        Command::Logs(command) => command.run(&client, ui).await,
        Command::Events(command) => command.run(&client, ui).await,
        Command::Stats(command) => command.run(&client, ui).await,
        Command::Cancel(command) => command.run(&client, ui).await,
        Command::Approve(command) => command.run(&client, ui).await,
        Command::Ls(command) => command.run(&client, ui).await,
        Command::Show(command) => command.run(&client, ui).await,
        Command::Set(command) => command.run(&client, ui).await,
        Command::Prompts(command) => command.run(&client, ui).await,
        Command::Restore(command) => command.run(&client, ui).await,
        Command::Reset(command) => command.run(&client, ui).await,
        Command::Recreate(command) => command.run(&client, ui).await,
        Command::Rm(command) => command.run(&client, ui).await,
        Command::Workspaces(command) => command.run(&client, ui).await,
        Command::Agents(command) => command.run(&client, ui).await,
        Command::Doctor(command) => command.run(&client, ui).await,
    }
}
