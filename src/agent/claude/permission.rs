//! Permission requests of Claude Code and the answers to them.

use serde_json::{Value, json};

use super::{Claude, state::Permission, state::Phase, tools};
use crate::{
    agent::{
        adapter::Output,
        outputs::{LONGEST_ID, MOST_PERMISSIONS, send},
    },
    domain::{PermissionOption, PermissionOptionKind},
};

/// The most of a tool's input, and of the rules suggested, that is kept for an answer, in bytes of JSON.
const KEPT: usize = 8 * 1024;

impl Claude {
    /// A request of the agent; `None` if it is not understood, but it is answered then too.
    pub(super) fn control_request(&mut self, message: &Value) -> Option<Vec<Output>> {
        let id = message["request_id"].as_str().filter(|id| id.len() <= LONGEST_ID)?;
        let request = &message["request"];
        if request["subtype"] != "can_use_tool" {
            let error = format!("wharf does not know {}", request["subtype"]);
            let response = json!({"subtype": "error", "request_id": id, "error": error});
            let line = Output::Unparsed { line: message.to_string() };
            return Some(vec![send(&json!({"type": "control_response", "response": response})), line]);
        }
        if self.state.permissions.contains_key(id) {
            // The answer to the first must not become one to what this asks for.
            return Some(vec![Output::Unparsed { line: message.to_string() }]);
        }
        let pending = self.state.permissions.len();
        if self.state.phase == Phase::Dead || self.state.prompt.cancelling || pending >= MOST_PERMISSIONS {
            return Some(vec![deny(id, "The turn was cancelled.", self.state.prompt.cancelling)]);
        }
        let permission = Permission::of(request);
        let options = permission.options();
        let tool_call = tools::permission_call(&permission.tool, request);
        self.state.permissions.insert(id.to_owned(), permission);
        Some(vec![Output::PermissionRequested { id: id.to_owned(), tool_call, options }])
    }

    /// The agent waits no more for an answer.
    pub(super) fn control_cancel(&mut self, message: &Value) -> Vec<Output> {
        let id = message["request_id"].as_str().unwrap_or_default();
        let known = self.state.permissions.remove(id);
        known.map(|_| Output::PermissionWithdrawn { id: id.to_owned() }).into_iter().collect()
    }

    pub(super) fn answer(&mut self, id: &str, option_id: &str) -> Vec<Output> {
        let Some(permission) = self.state.permissions.remove(id) else { return Vec::new() };
        if option_id != "allow_once" && option_id != "allow_always" {
            return vec![deny(id, "The user did not allow this.", false)];
        }
        let mut answer = json!({"behavior": "allow"});
        if let Some(input) = permission.input {
            answer["updatedInput"] = input;
        }
        if option_id == "allow_always" {
            answer["updatedPermissions"] = json!(permission.rules);
        }
        vec![respond(id, &answer)]
    }

    /// Takes every waiting permission request back; `answer`: and tells the agent so.
    pub(super) fn withdraw_permissions(&mut self, answer: bool) -> Vec<Output> {
        let mut outputs = Vec::new();
        for (id, _) in std::mem::take(&mut self.state.permissions) {
            if answer {
                outputs.push(deny(&id, "The turn was cancelled.", true));
            }
            outputs.push(Output::PermissionWithdrawn { id });
        }
        outputs
    }
}

impl Permission {
    fn of(request: &Value) -> Self {
        let tool = request["tool_name"].as_str().unwrap_or_default();
        let suggested = request["permission_suggestions"].as_array().map_or(&[][..], Vec::as_slice);
        // Allowing one command for ever must not switch the whole mode, unless nothing else was suggested.
        let rules: Vec<_> = suggested.iter().filter(|rule| rule["type"] != "setMode").collect();
        let rules = if rules.is_empty() { suggested.iter().collect() } else { rules };
        let rules: Vec<Value> = rules.into_iter().map(for_this_session).collect();
        Self {
            tool: tool.chars().take(LONGEST_ID / 4).collect(),
            input: small(&request["input"]).cloned(),
            rules: if json!(rules).to_string().len() <= KEPT { rules } else { Vec::new() },
        }
    }

    fn options(&self) -> Vec<PermissionOption> {
        let option =
            |id: &str, name: &str, kind| PermissionOption { option_id: id.to_owned(), name: name.to_owned(), kind };
        let mut options = vec![option("allow_once", "Allow once", PermissionOptionKind::AllowOnce)];
        if !self.rules.is_empty() {
            options.push(option("allow_always", "Always allow in this session", PermissionOptionKind::AllowAlways));
        }
        options.push(option("reject_once", "Reject", PermissionOptionKind::RejectOnce));
        options
    }
}

/// A rule that holds as long as the process: one kept in the project's settings would change the user's repository.
fn for_this_session(rule: &Value) -> Value {
    let mut rule = rule.clone();
    if let Some(rule) = rule.as_object_mut() {
        rule.insert("destination".to_owned(), json!("session"));
    }
    rule
}

/// An input that may be kept. Without it the answer allows the input as it was: only old versions want it repeated.
fn small(input: &Value) -> Option<&Value> {
    (input.is_object() && input.to_string().len() <= KEPT).then_some(input)
}

fn deny(id: &str, message: &str, interrupt: bool) -> Output {
    respond(id, &json!({"behavior": "deny", "message": message, "interrupt": interrupt}))
}

fn respond(id: &str, answer: &Value) -> Output {
    let response = json!({"subtype": "success", "request_id": id, "response": answer});
    send(&json!({"type": "control_response", "response": response}))
}
