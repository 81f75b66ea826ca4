//! The first page of help: commands in groups, and the exit codes.

use std::process::ExitCode;

use clap::{Arg, ArgAction, Args, Command, CommandFactory as _};

use super::failure::Failure;
use super::ui::Ui;
use super::{Cli, Outcome};

pub(super) const TEMPLATE: &str = "{about}\n{usage-heading} {usage}{after-help}\n{options}";

/// A screen of 24 lines and 80 columns holds it.
pub(super) const COMMANDS: &str = "\
Talk with an agent:
  new         make a session              cancel      end the running turn
  send        prompt, print the answer    approve     answer what it asks
  chat        talk in turns               prompts     the queue, and taking back
Look after sessions:
  ls          list them                   reset       forget the conversation
  show        print one                   set         change its fields
  logs        print or follow events      rm          close one, or purge it
  restore     wake one                    recreate    start agents afresh
  events      those of all sessions       stats       totals
Look after what they run in, and the daemon:
  workspaces  make, start, stop, remove   shell       a terminal in one
  daemon      run it                      agents      list the agents
  host        serve agents without one    token       who may ask over TCP
  doctor      check it, mend it           completions for bash, zsh, fish
  help        exit codes, a command
A SESSION is an id, a key (`app:name`) or the agent's own id. `wharf help TOPIC`
and `wharf COMMAND --help` tell more. Options of every command:";

const EXIT_CODES: &str = "\
Exit codes:
    0  done
    1  the turn, or what was asked for, failed
    2  wrong usage, or a value that can't be
    3  the turn was cancelled
    4  the outcome is not known: the container was lost with it
    5  no daemon answers
    6  not found
    7  access refused: the token, its scope, the Host or the Origin
    8  refused as things are: busy, closed, taken, too many
    9  the daemon can't serve now: the engine or the store
  130  left running at Ctrl-C
  141  nobody reads the output any more
`wharf shell` gives the exit code of its command, 128 + N for signal N.";

/// Print help: exit codes, or a command's
#[derive(Args, Debug)]
pub(super) struct Help {
    /// `exit-codes`, or a command
    topic: Option<String>,
}

impl Help {
    pub(super) fn run(self, ui: &Ui) -> Outcome {
        let mut cli = command();
        let page = match self.topic.as_deref() {
            None => cli.render_help().to_string(),
            Some("exit-codes") => EXIT_CODES.to_owned(),
            Some(name) => {
                cli.build();
                let found = cli.find_subcommand_mut(name);
                let found = found.ok_or_else(|| Failure::usage(format!("there is no command or topic `{name}`")))?;
                found.render_help().to_string()
            }
        };
        ui.line(page.trim_end())?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The command line as it is read: help is one compact page for each command, with what is told beyond the first line
/// below the options.
pub(super) fn command() -> Command {
    let help = Arg::new("help").short('h').long("help").global(true).action(ArgAction::HelpShort).help("Print help");
    let cli = Cli::command().disable_help_flag(true).arg(help);
    compact(cli)
}

fn compact(mut command: Command) -> Command {
    let names: Vec<String> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    for name in names {
        command = command.mut_subcommand(name, |sub| {
            let about = sub.get_about().map(ToString::to_string).unwrap_or_default();
            let more = sub.get_long_about().map(ToString::to_string);
            let more = more.as_deref().and_then(|text| text.strip_prefix(&about)).unwrap_or_default().trim().to_owned();
            compact(if more.is_empty() { sub } else { sub.long_about(None).after_help(more) })
        });
    }
    command
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_command_is_on_the_page_and_the_page_fits_a_screen() {
        let mut cli = super::command();
        cli.clone().debug_assert();
        let page = cli.render_help().to_string();
        for command in cli.get_subcommands() {
            let name = format!("  {} ", command.get_name());
            assert!(page.contains(&name), "{name:?} is missing in {page}");
            assert!(command.get_about().is_some(), "{} says nothing of itself", command.get_name());
        }
        assert!(page.lines().count() <= 24, "{} lines\n{page}", page.lines().count());
        assert!(page.lines().all(|line| line.chars().count() <= 80), "{page}");
    }
}
