//! What Claude Code says of itself.

use serde_json::Value;

use super::{Claude, control, state::Phase, stream::Parent};
use crate::agent::{adapter::Output, outputs::LONGEST_ID};

/// Known, and of no meaning for a conversation: progress that is told in other words too, and what concerns a terminal.
const IGNORED: [&str; 40] = [
    "agents_killed",
    "api_error",
    "api_retry",
    "away_summary",
    "background_tasks_changed",
    "code_change_published",
    "compact_boundary",
    "control_request_progress",
    "dev_intent",
    "elicitation_complete",
    "file_snapshot",
    "files_persisted",
    "hook_progress",
    "hook_response",
    "hook_started",
    "instruction_size_warning",
    "late_allow_not_run",
    "memory_recall",
    "memory_saved",
    "permission_check_status",
    "permission_denied",
    "permission_retry",
    "per_turn_effort_changed",
    "plugin_install",
    "post_turn_summary",
    "scheduled_task_fire",
    "session_metadata",
    "session_state_changed",
    "session_title_changed",
    "shell_cwd",
    "stop_hook_summary",
    "task_list_statuses",
    "task_notification",
    "task_progress",
    "task_started",
    "task_summary",
    "task_updated",
    "thinking_tokens",
    "turn_duration",
    "vcs_state_changed",
];

impl Claude {
    pub(super) fn system(&mut self, message: &Value) -> Option<Vec<Output>> {
        match message["subtype"].as_str()? {
            "init" => Some(self.init(message)),
            "status" => Some(self.tell_permission_mode(message)),
            "commands_changed" => Some(control::commands(&message["commands"])),
            "local_command_output" => {
                let text = message["content"].as_str()?;
                Some(self.say(text, false, &Parent::default()).into_iter().collect())
            }
            subtype if IGNORED.contains(&subtype) => Some(Vec::new()),
            _ => None,
        }
    }

    /// The first line of each turn.
    fn init(&mut self, message: &Value) -> Vec<Output> {
        if let Some(id) = message["session_id"].as_str().filter(|id| !id.is_empty() && id.len() <= LONGEST_ID)
            && self.state.session_id.as_deref() != Some(id)
        {
            self.state.session_id = Some(id.to_owned());
            self.state.linked = false;
        }
        if self.state.phase == Phase::Dead {
            return Vec::new();
        }
        self.tell_permission_mode(message)
    }

    fn tell_permission_mode(&mut self, message: &Value) -> Vec<Output> {
        message["permissionMode"].as_str().and_then(|mode| self.tell_mode(mode)).into_iter().collect()
    }
}
