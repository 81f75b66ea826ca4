//! Turns: their end, and what the agent asks while they run.

use agent_client_protocol_schema::v1::{RequestPermissionRequest, StopReason};
use serde_json::{Value, json};

use super::{
    Acp,
    message::{Message, RpcError},
    state::Phase,
};
use crate::{
    agent::{
        adapter::{Output, TurnEnd},
        outputs::{MOST_PERMISSIONS, failed, permission_id, send, unparsed},
    },
    domain::PermissionOption,
};

impl Acp {
    pub(super) fn prompted(&mut self, result: Result<Value, RpcError>) -> Vec<Output> {
        let cancelling = matches!(self.state.phase, Phase::Turn { cancelling: true });
        self.state.phase = Phase::Idle;
        let mut outputs = self.withdraw_permissions(false);
        outputs.push(match result {
            Ok(result) => ended(&result),
            // Some agents answer a cancelled prompt with an error of their own making.
            Err(error) if cancelling && !error.is_auth() => {
                Output::TurnEnded(TurnEnd { stop_reason: Some("cancelled".to_owned()), ..TurnEnd::default() })
            }
            Err(error) => failed(self.explain(&error), error.status()),
        });
        outputs
    }

    /// Takes every waiting permission request back; `answer`: and tells the agent so.
    pub(super) fn withdraw_permissions(&mut self, answer: bool) -> Vec<Output> {
        let mut outputs = Vec::new();
        for (id, rpc_id) in std::mem::take(&mut self.state.permissions) {
            if answer {
                let outcome = json!({"outcome": {"outcome": "cancelled"}});
                outputs.push(send(&json!({"jsonrpc": "2.0", "id": rpc_id, "result": outcome})));
            }
            outputs.push(Output::PermissionWithdrawn { id });
        }
        outputs
    }

    /// A request of the agent.
    pub(super) fn asked(&mut self, method: &str, message: &Message<'_>, line: &[u8]) -> Vec<Output> {
        let Some(rpc_id) = message.id() else { return vec![unparsed(line)] };
        if method == "session/request_permission"
            && let Some(request) = message.params.and_then(|params| serde_json::from_str(params.get()).ok())
        {
            return self.permission(rpc_id, request, line);
        }
        let refusal = json!({"code": -32601, "message": format!("Method not found: {method}")});
        let mut outputs = vec![send(&json!({"jsonrpc": "2.0", "id": rpc_id, "error": refusal}))];
        // Files and terminals were never offered: an agent that asks all the same has another way.
        if !method.starts_with("fs/") && !method.starts_with("terminal/") {
            outputs.push(unparsed(line));
        }
        outputs
    }

    fn permission(&mut self, rpc_id: Value, request: Value, line: &[u8]) -> Vec<Output> {
        let id = permission_id(&rpc_id);
        let cancelled = json!({"jsonrpc": "2.0", "id": rpc_id, "result": {"outcome": {"outcome": "cancelled"}}});
        let running = self.state.phase == (Phase::Turn { cancelling: false });
        if !running || self.state.permissions.len() >= MOST_PERMISSIONS || self.state.permissions.contains_key(&id) {
            return vec![send(&cancelled)];
        }
        let options = serde_json::from_value::<Vec<PermissionOption>>(request["options"].clone());
        let (Ok(options), Ok(_)) = (options, serde_json::from_value::<RequestPermissionRequest>(request.clone()))
        else {
            return vec![send(&cancelled), unparsed(line)];
        };
        let Value::Object(mut request) = request else { return vec![send(&cancelled), unparsed(line)] };
        self.state.permissions.insert(id.clone(), rpc_id);
        let tool_call = request.remove("toolCall").unwrap_or_default();
        vec![Output::PermissionRequested { id, tool_call, options }]
    }
}

fn ended(result: &Value) -> Output {
    let reason = serde_json::from_value::<StopReason>(result["stopReason"].clone());
    match reason {
        Ok(_) => Output::TurnEnded(TurnEnd {
            stop_reason: result["stopReason"].as_str().map(str::to_owned),
            usage: result.get("usage").filter(|usage| usage.is_object()).cloned(),
            error: None,
        }),
        Err(_) => failed(format!("the agent ended the turn with an unknown reason: {}", result["stopReason"]), None),
    }
}
