//! Shows a turn as it happens: what the agent says on stdout, what it does on stderr.

use serde_json::Value;

use super::diff;
use super::event::{Event, PermissionRequested, TurnEnded, tool_title};
use super::failure::Failure;
use super::ui::{Ui, cut, name};
use crate::domain::PromptState;

/// Lines of a tool's output that are shown.
const TOOL_LINES: usize = 12;
const TOOL_WIDTH: usize = 160;

/// What stands on the terminal's current line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    Fresh,
    Said,
    Thought,
}

/// What one event puts where.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// Part of the agent's answer.
    Say(String),
    /// Part of a thought.
    Think(String),
    /// Lines for stderr.
    Note(String),
    /// A warning for stderr.
    Warn(String),
    /// Nothing.
    Nothing,
}

/// Prints the events of a turn.
#[derive(Debug)]
pub(super) struct Renderer<'a> {
    ui: &'a Ui,
    line: Line,
    /// Whether anything was said, and whether it ended its line.
    said: Option<bool>,
    /// Tool calls that the agent announced before it had written what they do, with their titles so far: they are shown
    /// when that is known.
    announced: Vec<(String, String)>,
}

impl<'a> Renderer<'a> {
    pub(super) const fn new(ui: &'a Ui) -> Self {
        Self { ui, line: Line::Fresh, said: None, announced: Vec::new() }
    }

    /// Prints one event.
    pub(super) fn event(&mut self, event: &Event) -> Result<(), Failure> {
        if self.ui.json {
            return self.ui.line(&event.raw);
        }
        match self.announced(event).unwrap_or_else(|| shown(event)) {
            Shown::Say(text) => {
                if self.line == Line::Thought {
                    self.ui.warn("");
                }
                self.ui.write(&text)?;
                let ended = text.ends_with('\n');
                self.said = Some(ended);
                self.line = if ended { Line::Fresh } else { Line::Said };
            }
            Shown::Think(text) => {
                if self.line == Line::Said {
                    self.fresh()?;
                }
                self.ui.warn_part(&self.ui.dim(&self.ui.clean(&text)));
                self.line = if text.ends_with('\n') { Line::Fresh } else { Line::Thought };
            }
            Shown::Note(text) => {
                let painted = |line| match diff::kind(line) {
                    diff::Kind::Removed => self.ui.red(line),
                    diff::Kind::Added => self.ui.green(line),
                    diff::Kind::Other => self.ui.dim(line),
                };
                let text = self.ui.clean(&text).lines().map(painted).collect::<Vec<_>>().join("\n");
                self.below(&text)?;
            }
            Shown::Warn(text) => self.below(&self.ui.bold(&self.ui.clean(&text)))?,
            Shown::Nothing => {}
        }
        Ok(())
    }

    /// What there is to show of a tool call that began without its input; `None` for all else.
    fn announced(&mut self, event: &Event) -> Option<Shown> {
        let data = &event.data;
        let text = |key: &str| data.get(key).and_then(Value::as_str);
        let (kind, id) = (text("sessionUpdate")?, text("toolCallId")?);
        let empty = |key: &str| match data.get(key) {
            None | Some(Value::Null) => true,
            Some(Value::Object(fields)) => fields.is_empty(),
            Some(Value::Array(items)) => items.is_empty(),
            Some(_) => false,
        };
        let bare = empty("rawInput") && empty("content") && text("status").is_none_or(|status| status == "pending");
        let at = self.announced.iter().position(|(announced, _)| announced == id);
        match (kind, at) {
            ("tool_call", None) if bare => self.announced.push((id.to_owned(), tool_title(data))),
            ("tool_call_update", Some(_)) if bare => {}
            ("tool_call_update", Some(at)) => {
                let (_, title) = self.announced.remove(at);
                let title = if text("title").is_some() { tool_title(data) } else { title };
                return Some(Shown::Note(format!("▸ {title}{}", tool_progress(data))));
            }
            _ => return None,
        }
        Some(Shown::Nothing)
    }

    /// Ends what is open, so that the shell's prompt stands on a line of its own.
    pub(super) fn end(&mut self) -> Result<(), Failure> {
        if self.line == Line::Thought {
            self.fresh()?;
        }
        if !self.ui.json && self.said == Some(false) {
            self.ui.write("\n")?;
        }
        (self.line, self.said) = (Line::Fresh, None);
        Ok(())
    }

    fn below(&mut self, text: &str) -> Result<(), Failure> {
        self.fresh()?;
        self.ui.warn(text);
        Ok(())
    }

    /// To the start of a line, without putting anything into an answer that goes to a file.
    fn fresh(&mut self) -> Result<(), Failure> {
        match self.line {
            Line::Said if self.ui.out_terminal => {
                self.ui.write("\n")?;
                self.said = Some(true);
            }
            Line::Thought => self.ui.warn(""),
            Line::Said | Line::Fresh => {}
        }
        self.line = Line::Fresh;
        Ok(())
    }
}

/// How an event is shown to people.
pub(super) fn shown(event: &Event) -> Shown {
    let text = |key: &str| event.data.get(key).and_then(Value::as_str).unwrap_or_default();
    match event.kind.as_str() {
        "update" => update(&event.data),
        "permission.requested" => permission(event),
        "turn.ended" => event.data::<TurnEnded>().map_or(Shown::Nothing, |ended| turn_ended(&ended)),
        "session.resume_failed" => Shown::Warn(format!("the agent lost its memory: {}", text("message"))),
        "session.status" => match (text("status"), event.data.pointer("/error/message").and_then(Value::as_str)) {
            ("error", message) => {
                Shown::Warn(format!("the session is in error: {}", message.unwrap_or("no reason given")))
            }
            ("starting", _) => Shown::Note("· starting the agent …".to_owned()),
            ("interrupted", _) => Shown::Note("· the container died; what it left is collected …".to_owned()),
            _ => Shown::Nothing,
        },
        "agent.exited" if event.data.get("lost").and_then(Value::as_bool) == Some(true) => {
            Shown::Warn("the agent was lost with its container".to_owned())
        }
        "session.closed" => Shown::Warn("the session was closed".to_owned()),
        "agent.unparsed" => Shown::Note(format!("? {}", cut(text("line"), TOOL_WIDTH))),
        _ => Shown::Nothing,
    }
}

fn update(data: &Value) -> Shown {
    let said = || data.pointer("/content/text").and_then(Value::as_str).unwrap_or_default().to_owned();
    match data.get("sessionUpdate").and_then(Value::as_str).unwrap_or_default() {
        "agent_message_chunk" => Shown::Say(said()),
        "agent_thought_chunk" => Shown::Think(said()),
        "tool_call" => {
            let mut text = format!("▸ {}", tool_title(data));
            text.push_str(&tool_output(data));
            Shown::Note(text)
        }
        "tool_call_update" => match tool_progress(data).strip_prefix('\n') {
            Some(text) => Shown::Note(text.to_owned()),
            None => Shown::Nothing,
        },
        "plan" => plan(data),
        _ => Shown::Nothing,
    }
}

/// What became of a tool call, each line after a line feed.
fn tool_progress(data: &Value) -> String {
    let failed = data.get("status").and_then(Value::as_str) == Some("failed");
    tool_output(data) + if failed { "\n  ✗ failed" } else { "" }
}

/// The texts of a tool call, each line after a line feed, cut.
fn tool_output(data: &Value) -> String {
    let blocks = data.get("content").and_then(Value::as_array).into_iter().flatten();
    let mut changes = String::new();
    let mut texts = Vec::new();
    for block in blocks {
        let text = |key: &str| block.get(key).and_then(Value::as_str).unwrap_or_default();
        match text("type") {
            "content" => texts.extend(block.pointer("/content/text").and_then(Value::as_str)),
            "diff" => {
                changes.push_str(&format!("\n  changes {}", cut(text("path"), TOOL_WIDTH)));
                diff::lines(text("oldText"), text("newText"))
                    .iter()
                    .for_each(|line| changes.push_str(&format!("\n{line}")));
            }
            _ => {}
        }
    }
    let all = texts.join("\n");
    let lines: Vec<&str> = all.lines().collect();
    let mut out = String::new();
    for line in lines.iter().take(TOOL_LINES) {
        out.push_str(&format!("\n  {}", cut(line, TOOL_WIDTH)));
    }
    if lines.len() > TOOL_LINES {
        out.push_str(&format!("\n  … {} more lines", lines.len() - TOOL_LINES));
    }
    out + &changes
}

fn plan(data: &Value) -> Shown {
    let entries = data.get("entries").and_then(Value::as_array).into_iter().flatten();
    let lines = entries.map(|entry| {
        let field = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default();
        let mark = match field("status") {
            "completed" => "✓",
            "in_progress" => "▸",
            _ => "·",
        };
        format!("  {mark} {}", cut(field("content"), TOOL_WIDTH))
    });
    Shown::Note(lines.collect::<Vec<_>>().join("\n"))
}

fn permission(event: &Event) -> Shown {
    let Some(request) = event.data::<PermissionRequested>() else { return Shown::Nothing };
    let mut text = format!("? permission {}: {}", request.id, cut(&tool_title(&request.tool_call), TOOL_WIDTH));
    for (n, option) in (1..).zip(&request.options) {
        text.push_str(&format!("\n  {n}  {} ({})", cut(&option.name, TOOL_WIDTH), name(&option.kind)));
    }
    Shown::Warn(text)
}

fn turn_ended(ended: &TurnEnded) -> Shown {
    let why = ended.error.as_ref().map(|e| format!(": {}", e.message)).unwrap_or_default();
    match (ended.status, ended.stop_reason.as_deref()) {
        (PromptState::Done, None | Some("end_turn")) => Shown::Nothing,
        (PromptState::Done, Some(reason)) => Shown::Note(format!("· the agent stopped: {reason}")),
        (PromptState::Cancelled, _) => Shown::Note(format!("· cancelled{why}")),
        (PromptState::Unknown, _) => Shown::Warn(format!("the outcome of this turn is not known{why}")),
        _ => Shown::Warn(format!("the turn failed{why}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(kind: &str, data: &Value) -> Event {
        let json = json!({"seq": 1, "session": "s", "turn": "turn_1", "time": "2026-01-01T00:00:00.000Z",
                          "type": kind, "data": data});
        Event::parse(json.to_string()).unwrap()
    }

    fn show(kind: &str, data: &Value) -> Shown {
        shown(&event(kind, data))
    }

    #[test]
    fn what_is_said_and_what_is_done_are_told_apart() {
        let chunk = |kind: &str| json!({"sessionUpdate": kind, "content": {"type": "text", "text": "x\n"}});
        assert_eq!(show("update", &chunk("agent_message_chunk")), Shown::Say("x\n".into()));
        assert_eq!(show("update", &chunk("agent_thought_chunk")), Shown::Think("x\n".into()));
        assert_eq!(show("update", &chunk("user_message_chunk")), Shown::Nothing);
        let call = json!({"sessionUpdate": "tool_call", "title": "Bash", "rawInput": {"command": "ls"}});
        assert_eq!(show("update", &call), Shown::Note("▸ Bash: ls".into()));
        let long = (0..20).map(|n| n.to_string()).collect::<Vec<_>>().join("\n");
        let result = json!({"sessionUpdate": "tool_call_update", "status": "failed",
                            "content": [{"type": "content", "content": {"type": "text", "text": long}}]});
        let Shown::Note(text) = show("update", &result) else { panic!("a note") };
        assert!(text.starts_with("  0\n  1\n") && text.ends_with("  … 8 more lines\n  ✗ failed"), "{text}");
        let edit = json!({"sessionUpdate": "tool_call_update", "content": [
            {"type": "diff", "path": "/workspace/a", "oldText": "one\ntwo\n", "newText": "one\n2\n"}]});
        let edited = "  changes /workspace/a\n  │   one\n  │ - two\n  │ + 2";
        assert_eq!(show("update", &edit), Shown::Note(edited.into()));
        let empty = json!({"sessionUpdate": "tool_call_update", "status": "in_progress"});
        assert_eq!(show("update", &empty), Shown::Nothing);
        assert_eq!(show("something.new", &json!({})), Shown::Nothing);
        assert_eq!(show("update", &json!(["odd"])), Shown::Nothing);
    }

    #[test]
    fn a_call_is_shown_once_it_is_known_what_it_does() {
        let ui = Ui::new(false);
        let mut renderer = Renderer::new(&ui);
        let mut show = |data: Value| {
            let event = event("update", &data);
            renderer.announced(&event).unwrap_or_else(|| shown(&event))
        };
        let call =
            |id: &str| json!({"sessionUpdate": "tool_call", "toolCallId": id, "title": "Bash", "status": "pending"});
        let update = |id: &str, more: Value| {
            let mut update = json!({"sessionUpdate": "tool_call_update", "toolCallId": id});
            update.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            update
        };
        assert_eq!(show(call("a")), Shown::Nothing);
        assert_eq!(show(call("b")), Shown::Nothing);
        assert_eq!(show(update("a", json!({"status": "pending"}))), Shown::Nothing);
        let known = json!({"status": "in_progress", "title": "ls -l", "rawInput": {"command": "ls -l"}});
        assert_eq!(show(update("a", known)), Shown::Note("▸ ls -l".into()));
        assert_eq!(show(update("a", json!({"status": "failed"}))), Shown::Note("  ✗ failed".into()));
        assert_eq!(show(update("b", json!({"status": "failed"}))), Shown::Note("▸ Bash\n  ✗ failed".into()));
    }

    #[test]
    fn ends_and_questions_are_told() {
        let ended = |status: &str, reason: Value| {
            json!({"prompt": 1, "status": status, "stop_reason": reason,
                                                         "error": {"message": "why"}})
        };
        assert_eq!(show("turn.ended", &ended("done", json!("end_turn"))), Shown::Nothing);
        assert_eq!(show("turn.ended", &ended("failed", Value::Null)), Shown::Warn("the turn failed: why".into()));
        assert_eq!(show("turn.ended", &ended("cancelled", Value::Null)), Shown::Note("· cancelled: why".into()));
        let asked = json!({"id": "p1", "tool_call": {"title": "rm"}, "options": [
            {"optionId": "a", "name": "Allow", "kind": "allow_once"}]});
        let Shown::Warn(text) = show("permission.requested", &asked) else { panic!("a warning") };
        assert_eq!(text, "? permission p1: rm\n  1  Allow (allow_once)");
    }
}
