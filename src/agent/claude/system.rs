//! What Claude Code says of itself.

use serde_json::{Value, json};

use super::{Claude, control, state::Phase, stream::Parent};
use crate::agent::{
    adapter::Output,
    outputs::{LONGEST_ID, clip, update},
};

/// Known, and of no meaning for a conversation: progress that is told in other words too, and what concerns a terminal.
const IGNORED: [&str; 38] = [
    "agents_killed",
    "api_error",
    "away_summary",
    "background_tasks_changed",
    "code_change_published",
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
            "api_retry" => Some(retry(message).into_iter().collect()),
            "compact_boundary" => Some(notice("The conversation was compacted.").into_iter().collect()),
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

/// What the agent tells while it waits for the model's API.
fn retry(message: &Value) -> Option<Output> {
    let number = |key: &str| message[key].as_f64();
    let mut text = "The model's API failed".to_owned();
    match (message["error_status"].as_u64(), message["error"].as_str()) {
        (Some(status), Some(error)) => text += &format!(" ({status} {})", clip(error, LONGEST_ID)),
        (Some(status), None) => text += &format!(" ({status})"),
        (None, Some(error)) => text += &format!(" ({})", clip(error, LONGEST_ID)),
        (None, None) => {}
    }
    if let (Some(attempt), Some(most)) = (number("attempt"), number("max_retries")) {
        text += &format!("; attempt {attempt} of {most} follows");
    }
    if let Some(delay) = number("retry_delay_ms") {
        text += &format!(" in {:.1} s", delay / 1000.0);
    }
    notice(&(text + "."))
}

/// Something that ACP has no word for and that a person wants to know.
fn notice(text: &str) -> Option<Output> {
    update(&json!({
        "sessionUpdate": "agent_thought_chunk",
        "content": {"type": "text", "text": format!("{text}\n")},
        "_meta": {"claudeCode": {"notice": true}},
    }))
}
