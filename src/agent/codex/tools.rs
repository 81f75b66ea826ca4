//! Items of a turn: texts, and tool calls in ACP's words.

use serde_json::{Value, json};

use super::{
    Codex, content, diff,
    state::{Phase, Tool},
};
use crate::agent::{
    adapter::Output,
    outputs::{LONGEST_ID, clip, update},
};

/// The longest title, in bytes.
pub(super) const LONGEST_TITLE: usize = 300;

/// The most that is kept of a change of files for a permission request, in bytes of JSON.
const LONGEST_SHOWN: usize = 8 * 1024;

impl Codex {
    /// An item that began or, `done`, ended; `None` if it is not understood.
    pub(super) fn item(&mut self, params: &Value, done: bool) -> Option<Vec<Output>> {
        let item = &params["item"];
        let id = item["id"].as_str().filter(|id| id.len() <= LONGEST_ID)?;
        let kind = item["type"].as_str()?;
        Some(match kind {
            // From now on the thread is on disk, with this prompt in it.
            "userMessage" if done && self.is_ours(params) && self.state.phase == Phase::Turn => {
                self.link().into_iter().collect()
            }
            "userMessage" | "hookPrompt" | "enteredReviewMode" => Vec::new(),
            "agentMessage" | "plan" if done => self.whole(id, item["text"].as_str()?, params),
            "exitedReviewMode" if done => self.whole(id, item["review"].as_str()?, params),
            "reasoning" if done => self.whole_thought(id, item, params),
            "contextCompaction" if done => self.notice("The conversation was compacted.", params).into_iter().collect(),
            "agentMessage" | "plan" | "exitedReviewMode" | "reasoning" | "contextCompaction" => Vec::new(),
            _ => self.tool_item(id, kind, params, done)?,
        })
    }

    fn tool_item(&mut self, id: &str, kind: &str, params: &Value, done: bool) -> Option<Vec<Output>> {
        let item = &params["item"];
        let mut call = described(kind, item)?;
        let known = self.state.tool(id).is_some();
        call["toolCallId"] = json!(id);
        call["sessionUpdate"] = json!(if known { "tool_call_update" } else { "tool_call" });
        call["status"] = json!(status(item, done));
        let mut shown = shown(kind, item);
        if known && matches!(kind, "commandExecution" | "fileChange") {
            // Told when it began, and may be large.
            let told = ["title", "kind", "locations", "rawInput"];
            call.as_object_mut()?.retain(|key, _| !told.contains(&key.as_str()));
            if kind == "fileChange" {
                shown.clear();
            }
        }
        if !shown.is_empty() {
            call["content"] = json!(shown);
        }
        if done {
            self.state.tools.retain(|tool| tool.id != id);
            if let Some(raw) = raw_output(kind, item) {
                call["rawOutput"] = raw;
            }
        } else if !known {
            let lasting = kind == "commandExecution";
            let server = item["server"].as_str().map(|server| clip(server, LONGEST_ID).to_owned());
            let shown = (kind == "fileChange").then(|| for_permission(&call));
            self.state.keep_tool(Tool { id: id.to_owned(), lasting, server, shown, closed: false });
        }
        self.mark(params, &mut call);
        Some(update(&call).into_iter().collect())
    }

    /// Tells the end of calls that will not tell it themselves. A command may go on behind a turn that came to its
    /// end, and tells its own even when it was ended.
    pub(super) fn close_tools(&mut self, broken_off: bool) -> Vec<Output> {
        let mut outputs = Vec::new();
        self.state.tools.retain_mut(|tool| {
            if (broken_off || !tool.lasting) && !tool.closed {
                tool.closed = true;
                let closed = json!({"sessionUpdate": "tool_call_update", "toolCallId": tool.id, "status": "failed"});
                outputs.extend(update(&closed));
            }
            tool.lasting
        });
        outputs
    }

    /// A piece of a command's output. ACP's content replaces what was told before, so a piece goes where other
    /// agents put it too; the whole output is the call's content at its end.
    pub(super) fn output_delta(&mut self, params: &Value) -> Option<Vec<Output>> {
        let (id, delta) = (item_id(params)?, params["delta"].as_str()?);
        let meta = json!({"terminal_output": {"terminal_id": id, "data": delta}});
        Some(self.progressed(id, json!({"_meta": meta}), params))
    }

    pub(super) fn patch_updated(&mut self, params: &Value) -> Option<Vec<Output>> {
        let (id, changes) = (item_id(params)?, params["changes"].as_array()?);
        let locations: Vec<_> = changes.iter().filter_map(diff::location).collect();
        let shown: Vec<_> = changes.iter().flat_map(diff::shown).collect();
        Some(self.progressed(id, json!({"locations": locations, "content": shown}), params))
    }

    pub(super) fn progress(&mut self, params: &Value) -> Option<Vec<Output>> {
        let (id, message) = (item_id(params)?, params["message"].as_str()?);
        Some(self.progressed(id, json!({"content": [content::text(message)]}), params))
    }

    fn progressed(&self, id: &str, mut call: Value, params: &Value) -> Vec<Output> {
        call["sessionUpdate"] = json!("tool_call_update");
        call["toolCallId"] = json!(id);
        self.mark(params, &mut call);
        update(&call).into_iter().collect()
    }
}

fn item_id(params: &Value) -> Option<&str> {
    params["itemId"].as_str().filter(|id| id.len() <= LONGEST_ID)
}

fn status(item: &Value, done: bool) -> &'static str {
    match (item["status"].as_str(), done) {
        (Some("failed" | "declined" | "interrupted"), _) => "failed",
        (Some("completed"), _) | (_, true) => "completed",
        _ => "in_progress",
    }
}

/// What of a call is repeated when a permission is asked for it.
fn for_permission(call: &Value) -> Value {
    let mut shown = json!({"title": call["title"], "kind": call["kind"]});
    for key in ["locations", "content"] {
        let part = call.get(key).filter(|part| part.to_string().len() <= LONGEST_SHOWN / 2);
        if let Some(part) = part {
            shown[key] = part.clone();
        }
    }
    shown
}

/// A command in the words of a permission request or of an item.
pub(super) fn command_call(command: &Value) -> Value {
    let actions = command["commandActions"].as_array().map_or(&[][..], Vec::as_slice);
    let every = |kinds: &[&str]| {
        !actions.is_empty() && actions.iter().all(|action| action["type"].as_str().is_some_and(|t| kinds.contains(&t)))
    };
    let kind = match () {
        () if every(&["read"]) => "read",
        () if every(&["search", "listFiles"]) => "search",
        () => "execute",
    };
    let whole = match &command["command"] {
        Value::Array(words) => words.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "),
        word => word.as_str().unwrap_or("a command").to_owned(),
    };
    // Without the shell around it, where it is one command.
    let title = match actions {
        [action] => action["command"].as_str().unwrap_or(&whole),
        _ => &whole,
    };
    let cwd = command["cwd"].as_str();
    let place = |path: &str| match cwd {
        Some(cwd) if !path.starts_with('/') => format!("{}/{path}", cwd.trim_end_matches('/')),
        _ => path.to_owned(),
    };
    let paths = actions.iter().filter(|action| action["type"] == "read").filter_map(|action| action["path"].as_str());
    let locations: Vec<_> = paths.map(|path| json!({"path": place(path)})).collect();
    json!({
        "title": clip(title, LONGEST_TITLE),
        "kind": kind,
        "locations": locations,
        "rawInput": {"command": whole, "cwd": cwd},
    })
}

/// A change of files in the words of older versions.
pub(super) fn legacy_patch(changes: &Value) -> Value {
    let paths: Vec<_> = changes.as_object().into_iter().flatten().map(|(path, _)| path.as_str()).collect();
    let locations: Vec<_> = paths.iter().map(|path| json!({"path": path})).collect();
    json!({"title": clip(&edit_title(&paths), LONGEST_TITLE), "kind": "edit", "locations": locations,
        "rawInput": changes})
}

fn edit_title(paths: &[&str]) -> String {
    if paths.is_empty() { "Change files".to_owned() } else { format!("Edit {}", paths.join(", ")) }
}

/// Title, kind, places and input of a call; `None` for an item that is not known.
fn described(kind: &str, item: &Value) -> Option<Value> {
    let word = |key: &str| item[key].as_str().unwrap_or_default();
    let plain = |title: String, kind: &str| json!({"title": clip(&title, LONGEST_TITLE), "kind": kind});
    Some(match kind {
        "commandExecution" => command_call(item),
        "fileChange" => {
            let changes = item["changes"].as_array().map_or(&[][..], Vec::as_slice);
            let paths: Vec<_> = changes.iter().filter_map(diff::place).collect();
            let mut call = plain(edit_title(&paths), "edit");
            call["locations"] = json!(changes.iter().filter_map(diff::location).collect::<Vec<_>>());
            call
        }
        "mcpToolCall" => {
            let mut call = plain(format!("{} ({})", word("tool"), word("server")), "other");
            call["rawInput"] = item["arguments"].clone();
            call
        }
        "dynamicToolCall" => {
            let mut call = plain(word("tool").to_owned(), "other");
            call["rawInput"] = item["arguments"].clone();
            call
        }
        "functionCallOutput" => plain(word("name").to_owned(), "other"),
        "webSearch" => {
            let mut call = plain(format!("Search the web for {}", word("query")), "fetch");
            call["rawInput"] = json!({"query": item["query"], "action": item["action"]});
            call
        }
        "collabAgentToolCall" => {
            let mut call = plain(format!("{}: {}", word("tool"), word("prompt")), "think");
            call["rawInput"] = json!({"prompt": item["prompt"], "receiverThreadIds": item["receiverThreadIds"]});
            call
        }
        "subAgentActivity" => plain(format!("Sub-agent {} {}", word("agentPath"), word("kind")), "think"),
        "imageView" => {
            let mut call = plain(format!("Look at {}", word("path")), "read");
            call["locations"] = json!([{"path": item["path"].as_str()?}]);
            call
        }
        "imageGeneration" => plain(format!("Make an image {}", word("revisedPrompt")), "other"),
        "sleep" => plain(format!("Wait for {} ms", item["durationMs"].as_u64().unwrap_or_default()), "other"),
        _ => return None,
    })
}

/// What a call shows so far.
fn shown(kind: &str, item: &Value) -> Vec<Value> {
    let texts = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(content::text);
    match kind {
        "commandExecution" => texts(&item["aggregatedOutput"]).into_iter().collect(),
        "fileChange" => item["changes"].as_array().into_iter().flatten().flat_map(diff::shown).collect(),
        "mcpToolCall" => {
            let mut shown = content::blocks(&item["result"]["content"]);
            shown.extend(texts(&item["error"]["message"]));
            shown
        }
        "dynamicToolCall" => content::blocks(&item["contentItems"]),
        "functionCallOutput" => match &item["output"] {
            Value::Array(_) => content::blocks(&item["output"]),
            output => texts(output).into_iter().collect(),
        },
        "imageGeneration" => {
            let image = item["result"].as_str().filter(|data| !data.is_empty());
            let block =
                |data| json!({"type": "content", "content": {"type": "image", "mimeType": "image/png", "data": data}});
            image.map(block).into_iter().collect()
        }
        _ => Vec::new(),
    }
}

/// What a call gave, for programs.
fn raw_output(kind: &str, item: &Value) -> Option<Value> {
    match kind {
        "commandExecution" => Some(json!({"exitCode": item["exitCode"], "durationMs": item["durationMs"]})),
        "mcpToolCall" => Some(item["result"]["structuredContent"].clone()).filter(|content| !content.is_null()),
        "collabAgentToolCall" => Some(item["agentsStates"].clone()).filter(Value::is_object),
        _ => None,
    }
}
