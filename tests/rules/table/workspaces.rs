//! Workspace rules.

use super::Line;

const DEFAULTS: &str = "tests/spaces/defaults.rs";
const LIFE: &str = "tests/spaces/lifecycle.rs";
const REPOSITORY: &str = "tests/spaces/repository.rs";
const SETUP: &str = "tests/spaces/setup.rs";
const FILES: &str = "tests/spaces/files.rs";
const RECONCILE: &str = "tests/spaces/reconcile.rs";
const TERMINALS: &str = "tests/access/terminals.rs";
const MEMORY: &str = "tests/rules/memory.rs";

pub(super) const LINES: &[Line] = &[
    Line {
        says: "Spec: image, env, cpus, memory, pids, disk where the engine can, network (`default`, `none`, a named \
               network), repo (url and ref cloned once into the volume, with credentials that are not left in it), \
               setup command (run once; its failure leaves the workspace in `error` with the output), extra mounts from \
               an operator's allow-list, labels. Defaults are safe: user 1000, all capabilities dropped but what tether \
               needs, no-new-privileges, default seccomp, pids and memory limits, no engine socket inside.",
        shown: &[
            (
                "Spec: image, env, cpus, memory, pids",
                &[
                    (DEFAULTS, "image_limits_network_and_labels_are_as_asked"),
                    (LIFE, "recreate_changes_image_and_limits_keeps_volumes_and_sessions_resume"),
                    ("tests/workspace/main.rs", "the_environment_is_nowhere_in_the_engine"),
                ],
            ),
            (
                "disk where the engine can",
                &[(DEFAULTS, "disk_is_limited_where_the_engine_can_and_refused_where_it_can_not")],
            ),
            (
                "network (`default`, `none`, a named network)",
                &[
                    (DEFAULTS, "image_limits_network_and_labels_are_as_asked"),
                    (REPOSITORY, "a_repository_is_cloned_once_with_credentials_that_are_not_left_in_it"),
                ],
            ),
            (
                "repo (url and ref cloned once into the volume, with credentials that are not left in it)",
                &[
                    (REPOSITORY, "a_repository_is_cloned_once_with_credentials_that_are_not_left_in_it"),
                    (REPOSITORY, "a_repository_is_taken_at_its_default_branch_a_tag_or_not_at_all"),
                ],
            ),
            (
                "setup command (run once; its failure leaves the workspace in `error` with the output)",
                &[
                    (SETUP, "setup_runs_once_before_anything_else"),
                    (SETUP, "a_setup_that_fails_leaves_the_workspace_in_error_with_the_output"),
                    (SETUP, "a_setup_outlives_the_daemon_and_is_stopped_with_its_workspace"),
                ],
            ),
            ("extra mounts from an operator's allow-list", &[(DEFAULTS, "extra_mounts_are_from_the_operators_list")]),
            ("labels", &[(DEFAULTS, "image_limits_network_and_labels_are_as_asked")]),
            (
                "Defaults are safe: user 1000, all capabilities dropped but what tether needs, no-new-privileges, \
                 default seccomp, pids and memory limits, no engine socket inside",
                &[(DEFAULTS, "defaults_are_safe")],
            ),
        ],
    },
    Line {
        says: "Lifecycle: create, start, stop, recreate (image or limits changed; volumes kept), delete. Ephemeral \
               workspaces go with their session. `logs` and `exec` for a person: `wharf shell WORKSPACE` gives a \
               terminal (pty through tether, resize, survives a dropped connection and can be attached again); the same \
               over a WebSocket.",
        shown: &[
            (
                "Lifecycle: create, start, stop",
                &[
                    (LIFE, "a_workspace_is_created_started_stopped_and_deleted"),
                    ("tests/rules/stuck.rs", "what_was_stopped_by_hand_stays_so_when_the_daemon_starts_again"),
                ],
            ),
            (
                "recreate (image or limits changed; volumes kept)",
                &[(LIFE, "recreate_changes_image_and_limits_keeps_volumes_and_sessions_resume")],
            ),
            ("delete", &[(LIFE, "a_workspace_is_created_started_stopped_and_deleted")]),
            ("Ephemeral workspaces go with their session", &[(LIFE, "an_ephemeral_workspace_goes_with_its_session")]),
            (
                "`logs` and `exec` for a person",
                &[
                    (LIFE, "logs_tell_what_happened_and_follow"),
                    (TERMINALS, "without_a_terminal_the_command_has_pipes_and_gives_its_exit_code"),
                ],
            ),
            (
                "`wharf shell WORKSPACE` gives a terminal (pty through tether, resize, survives a dropped connection and \
                 can be attached again)",
                &[("tests/cli/shell.rs", "a_shell_is_resized_survives_a_dropped_connection_and_is_attached_again")],
            ),
            ("the same over a WebSocket", &[(TERMINALS, "a_terminal_survives_connection_and_daemon_and_is_resized")]),
        ],
    },
    Line {
        says: "Files: `GET/PUT /v1/workspaces/{id}/files?path=` (streams; tar for directories), contained in the \
               workspace: `..`, absolute links and symlinks out are refused.",
        shown: &[
            (
                "Files: `GET/PUT /v1/workspaces/{id}/files?path=` (streams; tar for directories)",
                &[
                    (FILES, "files_and_directories_go_in_and_out"),
                    (FILES, "a_file_is_put_in_one_step_and_no_more_than_allowed"),
                ],
            ),
            (
                "contained in the workspace: `..`, absolute links and symlinks out are refused",
                &[(FILES, "what_leads_out_of_the_workspace_is_refused")],
            ),
        ],
    },
    Line {
        says: "The engine's own view is reconciled at start and on its events: a container killed, OOM-killed, paused, \
               removed by hand is noticed, becomes an event with the reason, and is put right on the next prompt. `wharf \
               doctor` reports engine, store, images, orphans and the fix for each; `--fix` does it.",
        shown: &[
            (
                "The engine's own view is reconciled at start",
                &[(RECONCILE, "what_happened_while_the_daemon_was_away_is_noticed_at_its_start")],
            ),
            (
                "and on its events: a container killed",
                &[(RECONCILE, "a_killed_container_is_noticed_and_put_right_on_the_next_prompt")],
            ),
            (
                "OOM-killed",
                &[
                    (RECONCILE, "a_lack_of_memory_is_noticed_and_put_right_on_the_next_prompt"),
                    (MEMORY, "a_container_killed_for_lack_of_memory_says_so_is_put_right_and_the_others_go_on"),
                    (MEMORY, "a_tool_killed_for_lack_of_memory_is_an_event_and_its_turn_goes_on"),
                ],
            ),
            ("paused", &[(RECONCILE, "a_paused_container_is_noticed_and_thawed_by_use")]),
            (
                "removed by hand is noticed, becomes an event with the reason, and is put right on the next prompt",
                &[(RECONCILE, "a_container_removed_by_hand_is_noticed_and_put_right_on_the_next_prompt")],
            ),
            (
                "`wharf doctor` reports engine, store, images, orphans and the fix for each",
                &[
                    ("tests/cli/doctor.rs", "all_is_well"),
                    ("tests/cli/doctor.rs", "an_engine_that_is_away_and_an_image_that_is_missing"),
                ],
            ),
            ("`--fix` does it", &[("tests/cli/doctor.rs", "what_is_left_over_is_named_and_removed_when_asked")]),
        ],
    },
    Line {
        says: "Host mode: `workspace: \"host\"` runs an agent on the host under the same tether, only where the operator \
               enabled it.",
        shown: &[(
            "Host mode: `workspace: \"host\"` runs an agent on the host under the same tether, only where the operator \
             enabled it",
            &[(DEFAULTS, "the_host_is_no_workspace_unless_the_operator_says_so")],
        )],
    },
];
