//! Session rules.

use super::Line;

const KEYS: &str = "tests/rules/keys.rs";
const BUSY: &str = "tests/rules/busy.rs";
const QUEUE: &str = "tests/rules/queue.rs";
const DELIVERY: &str = "tests/rules/delivery.rs";
const CLOCK: &str = "tests/rules/clock.rs";
const IDLE: &str = "tests/rules/idle.rs";
const DIRTY: &str = "tests/rules/dirty.rs";
const CLOSE: &str = "tests/rules/close.rs";
const CAPS: &str = "tests/rules/caps.rs";
const ERRORS: &str = "tests/rules/errors.rs";
const MEMORY: &str = "tests/rules/memory.rs";
const STORE: &str = "tests/rules/store.rs";
const STUCK: &str = "tests/rules/stuck.rs";
const RETENTION: &str = "tests/rules/retention.rs";
const MACHINE: &str = "src/session/state/tests/rules.rs";
const STATS: &str = "tests/reading/stats.rs";
const LISTS: &str = "tests/reading/lists.rs";
const KEPT: &str = "tests/reading/retention.rs";
const ALL: &str = "tests/reading/all_events.rs";

pub(super) const LINES: &[Line] = &[
    Line {
        says: "Keys: `app:name`, a bare name is `default:name`, split at the first colon. `POST /v1/sessions` with a \
               known key returns that session (200), touches its activity, and updates its model if another is asked \
               for; two at once make one session. Context merges: the newest non-empty channel wins, the first project \
               stays.",
        shown: &[
            (
                "Keys: `app:name`, a bare name is `default:name`, split at the first colon",
                &[(KEYS, "a_bare_name_is_in_the_default_app_and_a_key_is_split_at_its_first_colon")],
            ),
            (
                "`POST /v1/sessions` with a known key returns that session (200), touches its activity, and updates its \
                 model if another is asked for",
                &[(KEYS, "a_known_key_returns_its_session_touches_its_activity_and_updates_its_model")],
            ),
            ("two at once make one session", &[(KEYS, "two_at_once_make_one_session")]),
            (
                "Context merges: the newest non-empty channel wins, the first project stays",
                &[(KEYS, "of_the_context_the_newest_channel_wins_and_the_first_project_stays")],
            ),
        ],
    },
    Line {
        says: "One turn at a time. `when_busy`: queue (default), reject (409), interrupt (the running turn is cancelled, \
               then this one runs). Only the running turn's own end opens the gate.",
        shown: &[
            ("One turn at a time", &[(BUSY, "only_the_running_turns_own_end_opens_the_gate")]),
            (
                "`when_busy`: queue (default), reject (409), interrupt (the running turn is cancelled, then this one \
                 runs)",
                &[(BUSY, "a_busy_session_queues_rejects_or_interrupts_as_asked")],
            ),
            (
                "Only the running turn's own end opens the gate",
                &[(BUSY, "only_the_running_turns_own_end_opens_the_gate")],
            ),
        ],
    },
    Line {
        says: "The queue: durable before the 202; oldest first; states as in the design; a prompt keeps its original \
               time; undelivered prompts are redelivered after any crash, at most 3 attempts, then `failed`; recovery at \
               start is spread out (a bounded number of sessions wake at once), not a stampede; the last 100 finished \
               prompts of a session are kept. Depth and active work (queued + running) are in `/v1/stats`.",
        shown: &[
            (
                "The queue: durable before the 202",
                &[
                    (
                        DELIVERY,
                        "a_prompt_survives_any_number_of_crashes_before_it_is_delivered_and_none_counts_as_an_attempt",
                    ),
                    ("tests/store_crash.rs", "everything_acknowledged_survives_sigkill"),
                ],
            ),
            ("oldest first", &[("tests/first_light.rs", "prompts_run_in_order_and_a_pending_one_can_be_withdrawn")]),
            (
                "states as in the design",
                &[
                    (BUSY, "a_busy_session_queues_rejects_or_interrupts_as_asked"),
                    (DELIVERY, "an_undelivered_prompt_is_given_to_three_agents_and_then_it_has_failed"),
                    ("tests/cli/turns.rs", "an_outcome_that_nobody_knows_is_exit_code_4"),
                ],
            ),
            ("a prompt keeps its original time", &[(QUEUE, "a_prompt_keeps_its_original_time_over_a_crash")]),
            (
                "undelivered prompts are redelivered after any crash",
                &[(
                    DELIVERY,
                    "a_prompt_survives_any_number_of_crashes_before_it_is_delivered_and_none_counts_as_an_attempt",
                )],
            ),
            (
                "at most 3 attempts, then `failed`",
                &[
                    (DELIVERY, "an_undelivered_prompt_is_given_to_three_agents_and_then_it_has_failed"),
                    (MACHINE, "an_undelivered_prompt_is_tried_three_times_then_it_has_failed"),
                ],
            ),
            (
                "recovery at start is spread out (a bounded number of sessions wake at once), not a stampede",
                &[("tests/rules/recovery.rs", "recovery_at_start_is_no_stampede")],
            ),
            (
                "the last 100 finished prompts of a session are kept",
                &[(QUEUE, "the_last_hundred_finished_prompts_are_kept")],
            ),
            (
                "Depth and active work (queued + running) are in `/v1/stats`",
                &[(STATS, "depth_and_active_work_are_in_stats_and_in_metrics")],
            ),
        ],
    },
    Line {
        says: "Idle: a session without a turn, a queue or an attached terminal for `idle_timeout` (30 minutes unless \
               configured, measured on an injectable clock) is suspended: agent stopped, workspace container stopped \
               when nothing else uses it. Turns in flight are never swept. The next prompt, restore or terminal wakes it \
               without the client noticing more than the time. Timer-driven, not only on requests.",
        shown: &[
            (
                "Idle: a session without a turn, a queue or an attached terminal for `idle_timeout`",
                &[
                    (CLOCK, "a_session_is_suspended_after_half_an_hour_without_a_turn_a_queue_or_a_terminal"),
                    (CLOCK, "an_attached_terminal_keeps_its_workspace_awake_and_when_it_is_gone_the_idle_clock_starts"),
                ],
            ),
            (
                "(30 minutes unless configured, measured on an injectable clock) is suspended",
                &[
                    (CLOCK, "a_session_is_suspended_after_half_an_hour_without_a_turn_a_queue_or_a_terminal"),
                    ("src/config/tests.rs", "sessions_rest_after_half_an_hour_unless_told_otherwise"),
                    (STUCK, "what_was_stopped_by_hand_stays_so_when_the_daemon_starts_again"),
                ],
            ),
            (
                "agent stopped, workspace container stopped when nothing else uses it",
                &[
                    (IDLE, "an_idle_session_has_no_process_no_exec_and_no_container_and_wakes_unnoticed"),
                    (IDLE, "a_container_that_another_session_uses_is_not_stopped_and_one_that_nobody_uses_is"),
                ],
            ),
            (
                "Turns in flight are never swept",
                &[(CLOCK, "a_session_is_suspended_after_half_an_hour_without_a_turn_a_queue_or_a_terminal")],
            ),
            (
                "The next prompt, restore or terminal wakes it without the client noticing more than the time",
                &[
                    (IDLE, "an_idle_session_has_no_process_no_exec_and_no_container_and_wakes_unnoticed"),
                    ("tests/api/sessions.rs", "a_workspace_is_stopped_with_its_sessions_and_wakes_with_them"),
                    ("tests/access/terminals.rs", "a_terminal_survives_connection_and_daemon_and_is_resized"),
                ],
            ),
            (
                "Timer-driven, not only on requests",
                &[(IDLE, "an_idle_session_has_no_process_no_exec_and_no_container_and_wakes_unnoticed")],
            ),
        ],
    },
    Line {
        says: "Dirty: marking one session, all of a project, or all, makes the agent start afresh (resumed) before its \
               next turn; the mark is cleared only after that succeeded; the call answers how many were marked.",
        shown: &[
            (
                "Dirty: marking one session, all of a project, or all",
                &[
                    (DIRTY, "dirty_starts_the_agent_afresh_before_its_next_turn_and_never_during_one"),
                    (DIRTY, "marking_a_project_or_all_answers_how_many"),
                ],
            ),
            (
                "makes the agent start afresh (resumed) before its next turn",
                &[(DIRTY, "dirty_starts_the_agent_afresh_before_its_next_turn_and_never_during_one")],
            ),
            (
                "the mark is cleared only after that succeeded",
                &[
                    (MACHINE, "dirty_stays_when_the_start_fails"),
                    (MACHINE, "dirty_is_never_acted_upon_during_a_turn_and_cleared_only_by_a_later_agent"),
                ],
            ),
            ("the call answers how many were marked", &[(DIRTY, "marking_a_project_or_all_answers_how_many")]),
        ],
    },
    Line {
        says: "Reset: conversation forgotten, message count 0, session, key and subscribers stay, one `session.reset` \
               event.",
        shown: &[
            (
                "Reset: conversation forgotten",
                &[("tests/api/sessions.rs", "a_reset_forgets_the_conversation_and_keeps_the_session")],
            ),
            (
                "message count 0, session, key and subscribers stay, one `session.reset` event",
                &[(CLOSE, "a_reset_counts_from_zero_keeps_everything_else_and_is_one_event")],
            ),
        ],
    },
    Line {
        says: "Close is idempotent, tolerates a dead agent or engine, ends subscribers with `session.closed`; closing \
               all at shutdown never hangs (a bounded wait, then force).",
        shown: &[
            ("Close is idempotent", &[(CLOSE, "a_close_is_idempotent_and_ends_subscribers_with_session_closed")]),
            (
                "tolerates a dead agent or engine",
                &[
                    (CLOSE, "a_close_tolerates_a_dead_agent_and_a_dead_engine"),
                    (
                        STUCK,
                        "a_session_whose_agent_is_not_configured_any_more_can_be_closed_and_its_turn_works_on_until_then",
                    ),
                ],
            ),
            (
                "ends subscribers with `session.closed`",
                &[(CLOSE, "a_close_is_idempotent_and_ends_subscribers_with_session_closed")],
            ),
            (
                "closing all at shutdown never hangs (a bounded wait, then force)",
                &[(CLOSE, "closing_all_at_shutdown_never_hangs")],
            ),
        ],
    },
    Line {
        says: "Errors: an agent or workspace failure sets status `error` with the message, is an event for every \
               subscriber, and the session can be restored or reset.",
        shown: &[
            (
                "Errors: an agent",
                &[
                    (
                        ERRORS,
                        "a_failure_sets_error_with_the_message_tells_every_subscriber_and_is_got_over_by_restore_or_reset",
                    ),
                    (MEMORY, "an_agent_killed_for_lack_of_memory_says_so_can_be_restored_and_the_others_go_on"),
                    (STUCK, "an_agent_that_floods_its_output_keeps_no_request_out"),
                    (STUCK, "a_line_that_would_be_too_long_for_the_store_comes_in_pieces_and_the_session_goes_on"),
                    (STUCK, "a_session_as_large_as_is_allowed_has_room_for_all_that_comes"),
                ],
            ),
            (
                "or workspace failure sets status `error` with the message",
                &[
                    ("tests/spaces/setup.rs", "a_setup_that_fails_leaves_the_workspace_in_error_with_the_output"),
                    (MEMORY, "a_container_killed_for_lack_of_memory_says_so_is_put_right_and_the_others_go_on"),
                    (STORE, "when_the_disk_takes_no_more_everybody_is_told_and_the_next_daemon_goes_on"),
                ],
            ),
            (
                "is an event for every subscriber, and the session can be restored or reset",
                &[(
                    ERRORS,
                    "a_failure_sets_error_with_the_message_tells_every_subscriber_and_is_got_over_by_restore_or_reset",
                )],
            ),
        ],
    },
    Line {
        says: "A turn has no wall-clock limit; an inactivity limit (no output for N minutes, off by default) and caps \
               per session (turns, cost as reported by the agent) can be set: past a cap prompts get 409 `cap_reached`.",
        shown: &[
            (
                "A turn has no wall-clock limit",
                &[(CLOCK, "a_session_is_suspended_after_half_an_hour_without_a_turn_a_queue_or_a_terminal")],
            ),
            (
                "an inactivity limit (no output for N minutes, off by default)",
                &[(CAPS, "a_turn_without_output_fails_after_the_inactivity_limit_and_nothing_of_it_is_left")],
            ),
            (
                "and caps per session (turns, cost as reported by the agent) can be set: past a cap prompts get 409 \
                 `cap_reached`",
                &[
                    (CAPS, "past_a_cap_of_turns_prompts_are_refused_until_it_is_raised"),
                    (CAPS, "past_a_cap_of_cost_prompts_are_refused_and_the_configuration_has_the_defaults"),
                ],
            ),
        ],
    },
    Line {
        says: "Lists and lookups by workspace, agent, status, project, task id, MCP session id, label; summary is the \
               first text of the conversation, else the key. \"Is a user's turn in flight for this project?\" answered \
               in one call, not counting sessions labelled as automated.",
        shown: &[
            (
                "Lists and lookups by workspace, agent, status, project, task id, MCP session id, label",
                &[(LISTS, "sessions_are_listed_by_workspace_agent_status_project_task_mcp_session_label_and_app")],
            ),
            (
                "summary is the first text of the conversation, else the key",
                &[(LISTS, "the_summary_is_the_first_text_of_the_conversation_else_the_key")],
            ),
            (
                "\"Is a user's turn in flight for this project?\" answered in one call, not counting sessions labelled \
                 as automated",
                &[(STATS, "a_users_turn_in_flight_is_told_for_a_project_and_automated_sessions_do_not_count")],
            ),
        ],
    },
    Line {
        says: "Retention: the log of a closed session, its volumes and finished prompts are kept as long as the \
               configuration says (for ever by default; by age and by total size); nothing of an open session is ever \
               dropped. The store's disk use is shown and shrinks after a purge.",
        shown: &[
            (
                "Retention: the log of a closed session, its volumes and finished prompts are kept as long as the \
                 configuration says",
                &[(KEPT, "a_closed_session_is_kept_as_long_as_the_configuration_says_and_an_open_one_for_ever")],
            ),
            (
                "(for ever by default; by age and by total size)",
                &[
                    (KEPT, "by_default_everything_is_kept_and_by_size_the_oldest_closed_go_first"),
                    (RETENTION, "by_age_a_closed_session_goes_on_its_day_and_an_open_one_never"),
                    (RETENTION, "by_size_the_oldest_closed_go_first_never_an_open_one_and_the_disk_use_shrinks"),
                ],
            ),
            (
                "nothing of an open session is ever dropped",
                &[
                    (RETENTION, "by_age_a_closed_session_goes_on_its_day_and_an_open_one_never"),
                    (RETENTION, "by_size_the_oldest_closed_go_first_never_an_open_one_and_the_disk_use_shrinks"),
                ],
            ),
            (
                "The store's disk use is shown",
                &[
                    (STATS, "depth_and_active_work_are_in_stats_and_in_metrics"),
                    ("tests/reading/commands.rs", "totals_all_events_and_lists_have_their_commands"),
                ],
            ),
            ("and shrinks after a purge", &[(KEPT, "the_stores_disk_use_shrinks_after_a_purge")]),
        ],
    },
    Line {
        says: "`/v1/stats`: total, active, busy, waiting, error, by agent, queue depth, subscribers. `/v1/events`: every \
               session's events in one resumable stream.",
        shown: &[
            (
                "`/v1/stats`: total, active, busy, waiting, error, by agent, queue depth, subscribers",
                &[(STATS, "depth_and_active_work_are_in_stats_and_in_metrics")],
            ),
            (
                "`/v1/events`: every session's events in one resumable stream",
                &[
                    (ALL, "every_sessions_events_are_one_stream_that_goes_on_after_a_crash_of_the_daemon"),
                    (ALL, "the_stream_of_everything_is_filtered_by_workspace_session_and_type"),
                ],
            ),
        ],
    },
];
