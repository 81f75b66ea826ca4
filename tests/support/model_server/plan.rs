//! From what was asked to the steps of the answer.

use std::time::Duration;

use serde_json::{Value, json};

use super::ask::{Ask, verb, without_reminders};

/// One step of an answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    Text(String),
    Think(String),
    Wait(Duration),
    Tool { name: String, input: Value },
    Fail { status: u16, message: String },
}

/// The shell tools of the agents, best first.
const SHELLS: [&str; 5] = ["Bash", "bash", "exec_command", "shell_command", "shell"];

/// The file-writing tools of the agents.
const WRITERS: [&str; 2] = ["Write", "write"];

/// The longest text that an answer repeats, in characters.
const MAX_ECHO: usize = 2000;

/// Decides the answer; `delay` is the time between two chunks of `slow`.
pub(super) fn plan(ask: &Ask, delay: Duration) -> Vec<Step> {
    if let Some(output) = &ask.tool_output {
        return chunks(&format!("DONE\n{}", cut(without_reminders(output).trim_end())));
    }
    match ask.text.as_str() {
        "model?" => return vec![Step::Text(ask.model.clone())],
        "count?" => return vec![Step::Text(format!("turns={}", ask.turns))],
        _ => {}
    }
    let Some((verb, rest)) = verb(&ask.text) else { return chunks(&format!("echo: {}", cut(&ask.text))) };
    let number = rest.split(' ').next().unwrap_or_default();
    match verb {
        "think" => {
            let mut steps = vec![Step::Think("Thinking about it. ".into()), Step::Think("Decided.".into())];
            steps.extend(chunks(rest));
            steps
        }
        "run" | "ask" => vec![tool(ask, &SHELLS, |name| shell_input(name, rest))],
        "write" => {
            let (path, text) = rest.split_once(' ').unwrap_or((rest, ""));
            vec![tool(ask, &WRITERS, |name| {
                let key = if name == "write" { "filePath" } else { "file_path" };
                json!({key: path, "content": format!("{text}\n")})
            })]
        }
        "slow" => (1..=number.parse().unwrap_or(10u32))
            .flat_map(|n| [Step::Text(format!("chunk {n} ")), Step::Wait(delay)])
            .collect(),
        "hang" => vec![Step::Wait(Duration::from_secs(number.parse().unwrap_or(5))), Step::Text("late".into())],
        "error" => {
            let message = rest.split_once(' ').map_or("asked for", |(_, message)| message).to_owned();
            vec![Step::Fail { status: number.parse().unwrap_or(500), message }]
        }
        _ => chunks(rest),
    }
}

fn shell_input(name: &str, command: &str) -> Value {
    match name {
        "exec_command" => json!({"cmd": command}),
        "shell_command" => json!({"command": command}),
        "shell" => json!({"command": ["bash", "-lc", command]}),
        _ => json!({"command": command, "description": "Run what was asked"}),
    }
}

/// A call of the first of these tools that is on offer; without one, a text that says so.
fn tool(ask: &Ask, names: &[&str], input: impl Fn(&str) -> Value) -> Step {
    match names.iter().find(|name| ask.tools.contains(**name)) {
        Some(name) => Step::Tool { name: (*name).to_owned(), input: input(name) },
        None => Step::Text(format!("none of these tools is on offer: {}", names.join(", "))),
    }
}

fn cut(text: &str) -> String {
    text.chars().take(MAX_ECHO).collect()
}

/// Splits a text into about four pieces at word ends, so that streaming is seen.
fn chunks(text: &str) -> Vec<Step> {
    let words: Vec<&str> = text.split_inclusive(char::is_whitespace).collect();
    let size = words.len().div_ceil(4).max(1);
    words.chunks(size).map(|words| Step::Text(words.concat())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(text: &str) -> Vec<Step> {
        let tools = ["Bash", "Write"].map(str::to_owned).into();
        plan(
            &Ask { text: text.into(), tools, model: "m1".into(), turns: 3, ..Ask::default() },
            Duration::from_millis(7),
        )
    }

    fn text(steps: &[Step]) -> String {
        steps.iter().filter_map(|step| if let Step::Text(text) = step { Some(text.as_str()) } else { None }).collect()
    }

    #[test]
    fn each_verb_has_its_answer() {
        assert_eq!(text(&asked("say a b  c d e f")), "a b  c d e f");
        assert_eq!(text(&asked("hello there")), "echo: hello there");
        assert_eq!(text(&asked("model?")), "m1");
        assert_eq!(text(&asked("count?")), "turns=3");
        assert_eq!(text(&asked("think yes")), "yes");
        assert_eq!(asked("think yes")[0], Step::Think("Thinking about it. ".into()));
        assert_eq!(text(&asked("slow 3")), "chunk 1 chunk 2 chunk 3 ");
        assert_eq!(asked("slow 3")[1], Step::Wait(Duration::from_millis(7)));
        assert_eq!(asked("hang 2")[0], Step::Wait(Duration::from_secs(2)));
        assert_eq!(asked("error 429 slow down"), [Step::Fail { status: 429, message: "slow down".into() }]);
    }

    #[test]
    fn tools_are_called_by_the_names_on_offer() {
        let [Step::Tool { name, input }] = &asked("run ls -l")[..] else { panic!("one call") };
        assert_eq!((name.as_str(), &input["command"]), ("Bash", &json!("ls -l")));
        let [Step::Tool { name, input }] = &asked("write /tmp/a some text")[..] else { panic!("one call") };
        assert_eq!(
            (name.as_str(), &input["file_path"], &input["content"]),
            ("Write", &json!("/tmp/a"), &json!("some text\n"))
        );
        let none = plan(&Ask { text: "run ls".into(), ..Ask::default() }, Duration::ZERO);
        assert!(text(&none).starts_with("none of these tools"));
    }

    #[test]
    fn a_tool_result_ends_the_turn_with_its_output() {
        let ask = Ask { text: "run pwd".into(), tool_output: Some("/workspace\n".into()), ..Ask::default() };
        assert_eq!(text(&plan(&ask, Duration::ZERO)), "DONE\n/workspace");
    }
}
