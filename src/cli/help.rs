//! The first page of help: commands in groups, and the exit codes.

use clap::{Arg, ArgAction, Command, CommandFactory as _};

use super::Cli;

pub(super) const TEMPLATE: &str = "{about}\n\n{usage-heading} {usage}{after-help}\n\nOptions:\n{options}";

pub(super) const COMMANDS: &str = "\
Talk with an agent:
  new         Make a session, and with a PROMPT run its first turn
  send        Send a prompt and print the answer as it comes
  chat        Talk in turns; permissions are asked for right there
  cancel      End the running turn
  approve     Answer what an agent asks permission for

Look after sessions:
  ls          List sessions
  logs        Print a session's events, with -f as they come
  events      Print all sessions' events, with -f as they come
  stats       Show totals: sessions, queue, subscribers, disk use
  restore     Wake a session
  reset       Forget the conversation, keep the session
  recreate    Start agents afresh before their next turn
  rm          Close a session, with --purge drop its log too

Look after what they run in:
  workspaces  List, create, show, start, stop and remove workspaces
  agents      List the agents
  doctor      Check the daemon and all that it needs
  daemon      Run the daemon

A SESSION is named by its id, its key (`app:name`, or `name`) or the agent's own session id.
The token for TCP is WHARF_TOKEN, else what is in `<state-dir>/token`. `wharf COMMAND --help` tells more.
Exit codes: 0 done   1 the turn failed   2 wrong usage   3 cancelled   4 outcome unknown
  5 no daemon answers   6 not found   7 access refused   8 refused as things are (busy, closed, taken)
  9 the daemon can't serve now   130 left running at Ctrl-C";

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
            let line = format!("\n  {} ", command.get_name());
            assert!(page.contains(&line), "{line:?} is missing in {page}");
            assert!(command.get_about().is_some(), "{} says nothing of itself", command.get_name());
        }
        assert!(page.lines().count() <= 40, "{} lines", page.lines().count());
        assert!(page.lines().all(|line| line.len() <= 100), "{page}");
    }
}
