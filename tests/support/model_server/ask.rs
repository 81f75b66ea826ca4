//! What an agent asked: the parts of a request that decide the answer, in one form for every API.

use std::collections::BTreeMap;

use serde_json::Value;

/// How a tool takes its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// As a JSON object.
    Json,
    /// As a text.
    Text,
}

/// A request to the model, understood.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Ask {
    pub(super) model: String,
    pub(super) stream: bool,
    /// The last user text that is the user's own, not the agent's additions.
    pub(super) text: String,
    /// The result of the tool called last, where it came after that text.
    pub(super) tool_output: Option<String>,
    /// How many user turns the request carries.
    pub(super) turns: usize,
    /// The names of the tools on offer, and how each is called.
    pub(super) tools: BTreeMap<String, Form>,
    /// A question of the agent's own beside the turn: for a title.
    pub(super) aside: bool,
    /// A request to make the conversation shorter.
    pub(super) compaction: bool,
    /// Roughly, in tokens.
    pub(super) size: usize,
}

/// What agents add to a user's message on their own begins with one of these.
const ADDED: [&str; 14] = [
    "<system-reminder",
    "<environment_context",
    "<user_instructions",
    "<permissions",
    "<command-",
    "<local-command",
    "<turn_aborted",
    "<collaboration_mode",
    "<skills",
    "<apps",
    "<plugins",
    "<INSTRUCTIONS",
    "# AGENTS.md",
    "Caveat:",
];

const VERBS: [&str; 10] = ["say", "run", "ask", "write", "slow", "think", "error", "hang", "big", "length"];

/// Splits a text into its verb and the rest, where it begins with one.
pub(super) fn verb(text: &str) -> Option<(&'static str, &str)> {
    let text = text.trim_start().trim_start_matches(['"', '\'']);
    let end = text.find([' ', ':', '\n']).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    let verb = VERBS.into_iter().find(|verb| verb.eq_ignore_ascii_case(word))?;
    Some((verb, rest.trim_start_matches([' ', ':']).trim_end()))
}

pub(super) fn is_command(text: &str) -> bool {
    verb(text).is_some() || matches!(text.trim(), "model?" | "count?")
}

/// Tokens, as a rule of thumb: four bytes each.
pub(super) fn tokens(text: &str) -> usize {
    (text.len() / 4).max(1)
}

/// Cuts the reminders out that an agent writes into its messages.
pub(super) fn without_reminders(text: &str) -> String {
    let mut left = text;
    let mut out = String::new();
    while let Some((before, after)) = left.split_once("<system-reminder>") {
        out.push_str(before);
        left = after.split_once("</system-reminder>").map_or("", |(_, after)| after);
    }
    out + left
}

/// The text among several that is the user's: the last command, else the last one.
pub(super) fn pick(texts: &[String]) -> Option<String> {
    let own: Vec<String> = texts
        .iter()
        .map(|text| without_reminders(text).trim().to_owned())
        .filter(|text| !text.is_empty() && !ADDED.iter().any(|added| text.starts_with(added)))
        .collect();
    own.iter().rfind(|text| is_command(text)).or(own.last()).cloned()
}

/// The strings of a content field: a string, or blocks with a `text`.
pub(super) fn texts(content: &Value) -> Vec<String> {
    match content {
        Value::String(text) => vec![text.clone()],
        Value::Array(blocks) => blocks.iter().filter_map(|block| Some(block["text"].as_str()?.to_owned())).collect(),
        _ => Vec::new(),
    }
}

impl Ask {
    /// What is the same in every API.
    pub(super) fn of(body: &Value) -> Self {
        Self {
            model: body["model"].as_str().unwrap_or_default().to_owned(),
            stream: body["stream"].as_bool().unwrap_or_default(),
            size: tokens(&body.to_string()),
            ..Self::default()
        }
    }

    /// Understands the body of Anthropic's `POST /v1/messages`.
    pub(super) fn anthropic(body: &Value) -> Self {
        let mut ask = Self::of(body);
        let tools = body["tools"].as_array().into_iter().flatten();
        ask.tools = tools.filter_map(|tool| Some((tool["name"].as_str()?.to_owned(), Form::Json))).collect();
        for message in body["messages"].as_array().into_iter().flatten().filter(|message| message["role"] == "user") {
            let content = &message["content"];
            let results: Vec<String> = content
                .as_array()
                .into_iter()
                .flatten()
                .filter(|block| block["type"] == "tool_result")
                .flat_map(|block| texts(&block["content"]))
                .collect();
            let is_result = content.as_array().is_some_and(|blocks| blocks.iter().any(|b| b["type"] == "tool_result"));
            if is_result {
                ask.tool_output = Some(results.join("\n"));
            }
            // Beside a tool's result only a command counts: the agent adds remarks of its own there.
            match pick(&texts(content)) {
                Some(text) if !is_result || is_command(&text) => ask.user(text),
                _ => {}
            }
        }
        ask
    }

    /// Takes a user's text: it begins a turn, and what tools said before belongs to an older one.
    pub(super) fn user(&mut self, text: String) {
        self.text = text;
        self.tool_output = None;
        self.turns += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_last_command_decides_and_additions_do_not_count() {
        let ask = Ask::anthropic(&json!({"model": "m", "stream": true, "tools": [{"name": "Bash"}], "messages": [
            {"role": "user", "content": "say one"},
            {"role": "assistant", "content": "one"},
            {"role": "user", "content": [
                {"type": "text", "text": "<system-reminder>say wrong</system-reminder>"},
                {"type": "text", "text": "run ls -l\n<system-reminder>be kind</system-reminder>"},
                {"type": "text", "text": "Caveat: say wrong too"},
            ]},
        ]}));
        assert_eq!((ask.text.as_str(), ask.turns, ask.stream, ask.model.as_str()), ("run ls -l", 2, true, "m"));
        assert_eq!(ask.tool_output, None);
        assert!(ask.tools.contains_key("Bash"));
    }

    #[test]
    fn a_tool_result_belongs_to_the_turn_before_it() {
        let mut messages = vec![
            json!({"role": "user", "content": "run pwd"}),
            json!({"role": "assistant", "content": [{"type": "tool_use", "id": "1", "name": "Bash", "input": {}}]}),
            json!({"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "1", "content": [{"type": "text", "text": "/workspace"}]},
                {"type": "text", "text": "remark of the agent"},
            ]}),
        ];
        let ask = Ask::anthropic(&json!({"messages": messages}));
        assert_eq!((ask.text.as_str(), ask.tool_output.as_deref(), ask.turns), ("run pwd", Some("/workspace"), 1));
        messages.push(json!({"role": "user", "content": "count?"}));
        let ask = Ask::anthropic(&json!({"messages": messages}));
        assert_eq!((ask.text.as_str(), ask.tool_output, ask.turns), ("count?", None, 2));
    }

    #[test]
    fn verbs_are_words_not_prefixes() {
        assert_eq!(verb("  \"Run: ls \n"), Some(("run", "ls")));
        assert_eq!(verb("hang"), Some(("hang", "")));
        assert_eq!(verb("running late"), None);
        assert_eq!(verb("asked"), None);
    }

    #[test]
    fn an_unclosed_reminder_swallows_the_rest_only() {
        assert_eq!(without_reminders("a<system-reminder>b</system-reminder>c<system-reminder>d"), "ac");
    }
}
