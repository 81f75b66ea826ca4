//! The agent's own list of tasks as ACP's plan.

use serde_json::{Value, json};

use super::{
    Claude,
    state::{Task, Tool},
};
use crate::agent::{
    adapter::Output,
    outputs::{clip, update},
};

/// The most tasks that are kept, and the most bytes of one.
const MOST_TASKS: usize = 50;
const LONGEST_SUBJECT: usize = 200;

/// What a call of a tool means for the list; told once the call has succeeded.
pub(super) fn task_of(name: &str, input: &Value) -> Option<Task> {
    let word = |key: &str| input[key].as_str().map(|text| clip(text, LONGEST_SUBJECT).to_owned());
    match name {
        "TaskCreate" => Some(Task { id: String::new(), subject: word("subject"), status: None }),
        "TaskUpdate" => Some(Task { id: word("taskId")?, subject: word("subject"), status: word("status") }),
        _ => None,
    }
}

/// The plan of a `TodoWrite`, which always holds the whole list.
pub(super) fn todos(name: &str, input: &Value) -> Option<Output> {
    let todos = input["todos"].as_array().filter(|_| name == "TodoWrite")?;
    let entries = todos.iter().filter_map(|todo| entry(todo["content"].as_str()?, todo["status"].as_str()));
    plan(entries.collect())
}

impl Claude {
    /// The plan after a tool of tasks has succeeded.
    pub(super) fn task_done(&mut self, tool: &Tool, result: &Value) -> Option<Output> {
        let change = tool.task.as_ref()?;
        if tool.name == "TaskCreate" {
            let id = result["task"]["id"].as_str().filter(|id| id.len() <= LONGEST_SUBJECT)?;
            if self.state.tasks.len() >= MOST_TASKS {
                self.state.tasks.remove(0);
            }
            self.state.tasks.push(Task { id: id.to_owned(), ..change.clone() });
        } else {
            let at = self.state.tasks.iter().position(|task| task.id == change.id)?;
            if change.status.as_deref() == Some("deleted") {
                self.state.tasks.remove(at);
            } else {
                let task = &mut self.state.tasks[at];
                task.subject = change.subject.clone().or(task.subject.take());
                task.status = change.status.clone().or(task.status.take());
            }
        }
        let entries = self.state.tasks.iter();
        plan(
            entries
                .filter_map(|task| entry(task.subject.as_deref().unwrap_or(&task.id), task.status.as_deref()))
                .collect(),
        )
    }
}

fn entry(content: &str, status: Option<&str>) -> Option<Value> {
    let status = match status {
        Some(status @ ("in_progress" | "completed")) => status,
        Some("deleted") => return None,
        _ => "pending",
    };
    Some(json!({"content": content, "priority": "medium", "status": status}))
}

#[allow(clippy::needless_pass_by_value, reason = "a list is made to be sent")]
fn plan(entries: Vec<Value>) -> Option<Output> {
    update(&json!({"sessionUpdate": "plan", "entries": entries}))
}
