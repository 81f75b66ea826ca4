//! What Codex asks of its client: permissions, and other things that are refused so that it never waits in vain.

use serde_json::{Value, json};

use super::{
    Codex, content,
    state::{Kind, Permission, Phase},
    tools,
};
use crate::{
    agent::{
        adapter::Output,
        outputs::{LONGEST_ID, MOST_PERMISSIONS, clip, permission_id, send, unparsed},
    },
    domain::{PermissionOption, PermissionOptionKind},
};

/// The most of a request that is kept for its answer, in bytes of JSON.
const KEPT: usize = 8 * 1024;

impl Codex {
    /// A request of Codex; `None` if it can't be answered at all.
    pub(super) fn asked(&mut self, method: &str, id: &Value, params: &Value, line: &[u8]) -> Option<Vec<Output>> {
        let short = id.is_number() || id.as_str().is_some_and(|id| id.len() <= LONGEST_ID);
        if !short {
            return None;
        }
        let kind = match method {
            "item/commandExecution/requestApproval" | "item/fileChange/requestApproval" => Kind::Action,
            "execCommandApproval" | "applyPatchApproval" => Kind::Legacy,
            "item/permissions/requestApproval" => Kind::Profile,
            "mcpServer/elicitation/request" => Kind::Elicitation,
            _ => {
                let error =
                    json!({"code": -32601, "message": format!("Method not found: {}", clip(method, LONGEST_ID))});
                return Some(vec![send(&json!({"id": id, "error": error})), unparsed(line)]);
            }
        };
        let profile = if kind == Kind::Profile { granted(&params["permissions"]) } else { Value::Null };
        let permission = Permission { rpc_id: id.clone(), kind, profile };
        if (kind == Kind::Elicitation && !wants_only_a_yes(params)) || permission.profile.to_string().len() > KEPT {
            return Some(vec![permission.reply(Choice::Reject), unparsed(line)]);
        }
        let name = permission_id(id);
        let running = self.state.phase == Phase::Turn && !self.state.turn.cancelling;
        let full = self.state.permissions.len() >= MOST_PERMISSIONS || self.state.permissions.contains_key(&name);
        if !running || full {
            return Some(vec![permission.reply(Choice::Cancel)]);
        }
        let mut tool_call = self.permission_call(method, &name, params);
        self.mark(params, &mut tool_call);
        self.state.permissions.insert(name.clone(), permission);
        Some(vec![Output::PermissionRequested { id: name, tool_call, options: options() }])
    }

    pub(super) fn answer(&mut self, id: &str, option_id: &str) -> Vec<Output> {
        let Some(permission) = self.state.permissions.remove(id) else { return Vec::new() };
        vec![permission.reply(match option_id {
            "allow_once" => Choice::Allow,
            "allow_always" => Choice::Always,
            _ => Choice::Reject,
        })]
    }

    /// Takes every waiting permission request back; `answer`: and tells Codex so.
    pub(super) fn withdraw_permissions(&mut self, answer: bool) -> Vec<Output> {
        let mut outputs = Vec::new();
        for (id, permission) in std::mem::take(&mut self.state.permissions) {
            if answer {
                outputs.push(permission.reply(Choice::Cancel));
            }
            outputs.push(Output::PermissionWithdrawn { id });
        }
        outputs
    }

    /// Codex waits no more for an answer. It says so after each one that was given, too.
    pub(super) fn resolved(&mut self, params: &Value) -> Vec<Output> {
        let id = permission_id(&params["requestId"]);
        let known = self.state.permissions.remove(&id);
        known.map(|_| Output::PermissionWithdrawn { id }).into_iter().collect()
    }

    /// The call that a permission is asked for.
    fn permission_call(&mut self, method: &str, name: &str, params: &Value) -> Value {
        let id = params["itemId"].as_str().or_else(|| params["callId"].as_str());
        let server = params["serverName"].as_str();
        let tool = self.state.tools.iter().rev().find(|tool| match (id, server) {
            (Some(id), _) => tool.id == id,
            (None, Some(server)) => tool.server.as_deref() == Some(server),
            (None, None) => false,
        });
        let id = id.map(str::to_owned).or_else(|| tool.map(|tool| tool.id.clone()));
        let mut call = match method {
            "item/commandExecution/requestApproval" | "execCommandApproval" => tools::command_call(params),
            "item/fileChange/requestApproval" => tool
                .and_then(|tool| tool.shown.clone())
                .unwrap_or_else(|| json!({"title": "Change files", "kind": "edit"})),
            "applyPatchApproval" => tools::legacy_patch(&params["fileChanges"]),
            "mcpServer/elicitation/request" => {
                let title = params["message"].as_str().unwrap_or("An MCP server asks");
                json!({"title": clip(title, tools::LONGEST_TITLE), "kind": "other",
                    "rawInput": params["_meta"]["tool_params"]})
            }
            _ => json!({"title": "Wider permissions", "kind": "other", "rawInput": params["permissions"]}),
        };
        call["toolCallId"] = json!(id.unwrap_or_else(|| format!("request-{name}")));
        call["status"] = json!("pending");
        if let Some(reason) = params["reason"].as_str().filter(|reason| !reason.is_empty()) {
            let mut shown = call["content"].as_array().cloned().unwrap_or_default();
            shown.push(content::text(reason));
            call["content"] = json!(shown);
        }
        call
    }
}

/// What was chosen.
#[derive(Clone, Copy)]
enum Choice {
    Allow,
    Always,
    Reject,
    Cancel,
}

impl Permission {
    fn reply(&self, choice: Choice) -> Output {
        let allowed = matches!(choice, Choice::Allow | Choice::Always);
        let pick = |allow: &str, always: &str, reject: Value, cancel: &str| match choice {
            Choice::Allow => json!(allow),
            Choice::Always => json!(always),
            Choice::Reject => reject,
            Choice::Cancel => json!(cancel),
        };
        let result = match self.kind {
            Kind::Action => {
                json!({"decision": pick("accept", "acceptForSession", json!("decline"), "cancel")})
            }
            Kind::Legacy => {
                let denied = json!({"denied": {"rejection": "The user did not allow this."}});
                json!({"decision": pick("approved", "approved_for_session", denied, "abort")})
            }
            Kind::Profile => {
                let permissions = if allowed { self.profile.clone() } else { json!({}) };
                let scope = if matches!(choice, Choice::Always) { "session" } else { "turn" };
                json!({"permissions": permissions, "scope": scope})
            }
            Kind::Elicitation => {
                let persist = matches!(choice, Choice::Always).then(|| json!({"persist": "session"}));
                let content = allowed.then(|| json!({}));
                let action = pick("accept", "accept", json!("decline"), "cancel");
                json!({"action": action, "content": content, "_meta": persist})
            }
        };
        send(&json!({"id": self.rpc_id, "result": result}))
    }
}

/// The permissions to give, of those asked for: only what is set.
fn granted(asked: &Value) -> Value {
    let set = |key: &str| Some((key.to_owned(), asked.get(key).filter(|value| !value.is_null())?.clone()));
    Value::Object(["network", "fileSystem"].into_iter().filter_map(set).collect())
}

/// Whether a question of an MCP server can be answered without filling in a form or opening a page.
fn wants_only_a_yes(params: &Value) -> bool {
    let fields = params["requestedSchema"]["properties"].as_object();
    params["mode"] == "form" && fields.is_none_or(serde_json::Map::is_empty)
}

fn options() -> Vec<PermissionOption> {
    let option =
        |id: &str, name: &str, kind| PermissionOption { option_id: id.to_owned(), name: name.to_owned(), kind };
    vec![
        option("allow_once", "Allow once", PermissionOptionKind::AllowOnce),
        option("allow_always", "Always allow in this session", PermissionOptionKind::AllowAlways),
        option("reject_once", "Reject", PermissionOptionKind::RejectOnce),
    ]
}
