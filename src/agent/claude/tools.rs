//! Tool calls in ACP's words.

use serde_json::{Value, json};

use super::{Claude, content, plan, state::Tool, stream::Parent};
use crate::agent::{
    adapter::Output,
    outputs::{LONGEST_ID, clip, update},
};

/// The most calls without a result that are kept; the oldest is forgotten beyond.
const MOST_TOOLS: usize = 128;

/// The longest title, in bytes.
const LONGEST_TITLE: usize = 300;

/// The most of a tool's details that is passed on beside its output, in bytes of JSON: some repeat whole files.
const LONGEST_DETAILS: usize = 64 * 1024;

impl Claude {
    /// A call whose input is still being written.
    pub(super) fn announce_tool(&mut self, block: &Value, parent: &Parent) -> Vec<Output> {
        let (Some(id), Some(name)) = (block["id"].as_str(), block["name"].as_str()) else { return Vec::new() };
        if self.tool(id).is_some() || id.len() > LONGEST_ID {
            return Vec::new();
        }
        self.keep(Tool { id: id.to_owned(), name: clip(name, LONGEST_ID).to_owned(), ..Tool::default() });
        let mut call = json!({
            "sessionUpdate": "tool_call",
            "toolCallId": id,
            "title": clip(name, LONGEST_TITLE),
            "kind": kind(name),
            "status": "pending",
        });
        parent.mark(&mut call);
        update(&call).into_iter().collect()
    }

    /// A call with its whole input.
    pub(super) fn use_tool(&mut self, block: &Value, parent: &Parent) -> Vec<Output> {
        let (Some(id), Some(name)) = (block["id"].as_str(), block["name"].as_str()) else { return Vec::new() };
        let input = &block["input"];
        let diffs = diffs(name, input);
        let mut outputs = self.announce_tool(block, parent);
        if let Some(tool) = self.state.tools.iter_mut().find(|tool| tool.id == id) {
            if tool.whole {
                return outputs;
            }
            tool.whole = true;
            tool.diff = !diffs.is_empty();
            tool.task = plan::task_of(name, input);
        }
        let mut call = described(name, input);
        call["sessionUpdate"] = json!("tool_call_update");
        call["toolCallId"] = json!(id);
        call["status"] = json!("in_progress");
        if !diffs.is_empty() {
            call["content"] = json!(diffs);
        }
        parent.mark(&mut call);
        outputs.extend(update(&call));
        outputs.extend(plan::todos(name, input));
        outputs
    }

    /// The result of a call.
    pub(super) fn tool_result(&mut self, block: &Value, details: &Value, parent: &Parent) -> Vec<Output> {
        let Some(id) = block["tool_use_id"].as_str() else { return Vec::new() };
        let at = self.state.tools.iter().position(|tool| tool.id == id);
        let tool = at.map(|at| self.state.tools.remove(at)).unwrap_or_default();
        let failed = block["is_error"] == true;
        let mut call = json!({
            "sessionUpdate": "tool_call_update",
            "toolCallId": id,
            "status": if failed { "failed" } else { "completed" },
        });
        if failed || !tool.diff {
            call["content"] = json!(content::tool_output(&block["content"]));
        }
        if !details.is_null() && details.to_string().len() <= LONGEST_DETAILS {
            call["rawOutput"] = details.clone();
        }
        parent.mark(&mut call);
        let mut outputs: Vec<_> = update(&call).into_iter().collect();
        if !failed {
            outputs.extend(self.task_done(&tool, details));
        }
        outputs
    }

    fn tool(&self, id: &str) -> Option<&Tool> {
        self.state.tools.iter().find(|tool| tool.id == id)
    }

    fn keep(&mut self, tool: Tool) {
        if self.state.tools.len() >= MOST_TOOLS {
            self.state.tools.remove(0);
        }
        self.state.tools.push(tool);
    }
}

/// The call that a permission is asked for.
pub(super) fn permission_call(name: &str, request: &Value) -> Value {
    let input = &request["input"];
    let mut call = described(name, input);
    call["toolCallId"] = request["tool_use_id"].as_str().map_or_else(|| request["request_id"].clone(), Value::from);
    if !call["toolCallId"].is_string() {
        call["toolCallId"] = json!(name);
    }
    call["status"] = json!("pending");
    let mut shown = diffs(name, input);
    if let Some(plan) = input["plan"].as_str().filter(|_| name == "ExitPlanMode") {
        shown.extend(content::tool_output(&json!(plan)));
    }
    if !shown.is_empty() {
        call["content"] = json!(shown);
    }
    call
}

/// Title, kind, places and input of a call.
fn described(name: &str, input: &Value) -> Value {
    json!({
        "title": clip(&title(name, input), LONGEST_TITLE),
        "kind": kind(name),
        "locations": locations(input),
        "rawInput": input,
    })
}

fn kind(name: &str) -> &'static str {
    match name {
        "Read" | "NotebookRead" | "ListMcpResourcesTool" | "ReadMcpResourceTool" => "read",
        "Edit" | "MultiEdit" | "Write" | "NotebookEdit" => "edit",
        "Bash" | "BashOutput" | "KillShell" | "KillBash" | "Monitor" => "execute",
        "Glob" | "Grep" | "LS" | "ToolSearch" => "search",
        "WebFetch" | "WebSearch" | "web_search" | "web_fetch" => "fetch",
        "Task" | "Agent" | "TodoWrite" | "TaskCreate" | "TaskUpdate" | "TaskGet" | "TaskList" => "think",
        "ExitPlanMode" | "EnterPlanMode" => "switch_mode",
        _ => "other",
    }
}

fn title(name: &str, input: &Value) -> String {
    let word = |key: &str| input[key].as_str().filter(|word| !word.is_empty());
    let made = match name {
        "Bash" => word("command").map(str::to_owned),
        "Read" | "Edit" | "MultiEdit" | "Write" => word("file_path").map(|path| format!("{name} {path}")),
        "NotebookEdit" => word("notebook_path").map(|path| format!("Edit {path}")),
        "Grep" | "Glob" => word("pattern").map(|pattern| match word("path") {
            Some(path) => format!("{name} {pattern} in {path}"),
            None => format!("{name} {pattern}"),
        }),
        "WebFetch" => word("url").map(|url| format!("Fetch {url}")),
        "WebSearch" | "web_search" => word("query").map(|query| format!("Search the web for {query}")),
        "Task" | "Agent" => word("description").map(str::to_owned),
        "TaskCreate" => word("subject").map(|subject| format!("New task: {subject}")),
        "ExitPlanMode" => Some("Leave plan mode".to_owned()),
        _ => None,
    };
    made.unwrap_or_else(|| name.to_owned())
}

fn locations(input: &Value) -> Vec<Value> {
    let path = ["file_path", "notebook_path", "path"].iter().find_map(|key| input[*key].as_str());
    let line = input["offset"].as_u64().and_then(|line| u32::try_from(line).ok());
    path.map(|path| line.map_or_else(|| json!({"path": path}), |line| json!({"path": path, "line": line})))
        .into_iter()
        .collect()
}

/// What a call changes in files.
fn diffs(name: &str, input: &Value) -> Vec<Value> {
    let Some(path) = input["file_path"].as_str() else { return Vec::new() };
    let edit = |edit: &Value| {
        let (old, new) = (edit["old_string"].as_str()?, edit["new_string"].as_str()?);
        Some(json!({"type": "diff", "path": path, "oldText": old, "newText": new}))
    };
    match name {
        "Edit" => edit(input).into_iter().collect(),
        "MultiEdit" => input["edits"].as_array().map_or(&[][..], Vec::as_slice).iter().filter_map(edit).collect(),
        "Write" => {
            let new = input["content"].as_str();
            new.map(|new| json!({"type": "diff", "path": path, "oldText": null, "newText": new})).into_iter().collect()
        }
        _ => Vec::new(),
    }
}
