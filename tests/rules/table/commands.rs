//! Command line.

use super::Line;

const COMMANDS: &str = "tests/cli/commands.rs";
const ERRORS: &str = "tests/cli/errors.rs";
const RENDER: &str = "src/cli/render.rs";

pub(super) const LINES: &[Line] = &[Line {
    says: "Every route has its command; `wharf --help` fits a screen and groups them; shell completions; tables for \
           people, `--json` for programs; exit codes documented; `wharf send` renders tool calls and diffs readably, \
           colours only on a terminal; permission requests can be answered right there (`wharf chat`, `wharf approve`).",
    shown: &[
        (
            "Every route has its command",
            &[
                (COMMANDS, "a_session_from_its_making_to_its_end"),
                (COMMANDS, "workspaces_are_made_started_stopped_and_removed"),
                (COMMANDS, "a_turn_is_cancelled_and_the_queue_with_it"),
                (COMMANDS, "agents_are_listed"),
                ("tests/reading/commands.rs", "totals_all_events_and_lists_have_their_commands"),
                ("tests/spaces/files.rs", "the_command_line_copies_files_and_directories"),
                ("tests/access/tokens.rs", "tokens_are_made_listed_rotated_and_revoked_by_the_command_line"),
            ],
        ),
        (
            "`wharf --help` fits a screen and groups them",
            &[
                ("src/cli/help.rs", "every_command_is_on_the_page_and_the_page_fits_a_screen"),
                (ERRORS, "help_fits_a_screen"),
            ],
        ),
        ("shell completions", &[(ERRORS, "help_fits_a_screen")]),
        (
            "tables for people, `--json` for programs",
            &[
                (COMMANDS, "a_session_from_its_making_to_its_end"),
                ("tests/reading/commands.rs", "totals_all_events_and_lists_have_their_commands"),
            ],
        ),
        (
            "exit codes documented",
            &[
                (ERRORS, "refusals_have_their_exit_codes"),
                ("tests/cli/turns.rs", "the_exit_code_tells_how_the_turn_ended"),
            ],
        ),
        (
            "`wharf send` renders tool calls and diffs readably",
            &[
                (RENDER, "a_call_is_shown_once_it_is_known_what_it_does"),
                (RENDER, "what_is_said_and_what_is_done_are_told_apart"),
                ("src/cli/diff.rs", "a_change_is_shown_with_what_is_around_it"),
            ],
        ),
        ("colours only on a terminal", &[(ERRORS, "colours_are_on_a_terminal_only")]),
        (
            "permission requests can be answered right there (`wharf chat`, `wharf approve`)",
            &[
                ("tests/cli/chat.rs", "a_conversation_with_questions_commands_and_an_interruption"),
                (COMMANDS, "permissions_are_listed_and_answered"),
            ],
        ),
    ],
}];
