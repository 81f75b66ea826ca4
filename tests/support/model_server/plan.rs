//! From what was asked to the steps of the answer.

use std::time::Duration;

use serde_json::{Value, json};

use super::ask::{Ask, Form, verb, without_reminders};

/// One step of an answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    Text(String),
    Think(String),
    Wait(Duration),
    /// A call; the input is a text where the tool takes one.
    Tool {
        name: String,
        input: Value,
    },
    Fail {
        status: u16,
        message: String,
    },
    /// What stands for a conversation that was made shorter.
    Compaction,
}

/// The shell tools of the agents, best first.
const SHELLS: [&str; 7] = ["Bash", "bash", "exec_command", "shell_command", "shell", "local_shell", "exec"];

/// The file-writing tools of the agents, best first.
const WRITERS: [&str; 3] = ["Write", "write", "apply_patch"];

/// How much of a big answer is in one piece.
const PIECE: usize = 4096;

/// The most that a big answer has.
const MAX_BIG: usize = 64 << 20;

/// The longest text that an answer repeats, in characters.
const MAX_ECHO: usize = 2000;

/// Decides the answer; `delay` is the time between two chunks of `slow`.
pub(super) fn plan(ask: &Ask, delay: Duration) -> Vec<Step> {
    if ask.aside {
        return vec![Step::Text("A title".into())];
    }
    if ask.compaction {
        return vec![Step::Compaction];
    }
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
        "run" | "ask" => vec![shell(ask, rest, verb == "ask")],
        "write" => vec![write(ask, rest)],
        "big" => big(number.parse().unwrap_or(PIECE)),
        "length" => vec![Step::Text(format!("length={}", ask.text.len()))],
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

/// A call of the shell; `asking`: in such a way that the agent has to ask for a permission, where a tool has one.
fn shell(ask: &Ask, command: &str, asking: bool) -> Step {
    let Some((name, form)) = offered(ask, &SHELLS) else { return none_of(&SHELLS) };
    let mut input = match name {
        "exec_command" | "exec" => json!({"cmd": command}),
        "shell_command" => json!({"command": command}),
        "shell" | "local_shell" => json!({"command": ["bash", "-lc", command]}),
        _ => json!({"command": command, "description": "Run what was asked"}),
    };
    if asking && matches!(name, "exec_command" | "exec" | "shell_command" | "shell") {
        input["sandbox_permissions"] = "require_escalated".into();
        input["justification"] = "Allow this command?".into();
    }
    if form == Form::Text {
        // Codex's newest models write programs, which call the tools.
        let program = format!("const r = await tools.exec_command({input}); text(r.output ?? JSON.stringify(r));");
        input = program.into();
    }
    Step::Tool { name: name.to_owned(), input }
}

/// A call of the tool that writes files, of the shell where there is none.
fn write(ask: &Ask, rest: &str) -> Step {
    let (path, text) = rest.split_once(' ').unwrap_or((rest, ""));
    let Some((name, form)) = offered(ask, &WRITERS) else {
        return shell(ask, &format!("printf '%s\\n' '{text}' > '{path}'"), false);
    };
    let patch = format!("*** Begin Patch\n*** Add File: {path}\n+{text}\n*** End Patch\n");
    let input = match (name, form) {
        (_, Form::Text) => json!(patch),
        ("apply_patch", Form::Json) => json!({"input": patch}),
        ("write", Form::Json) => json!({"filePath": path, "content": format!("{text}\n")}),
        _ => json!({"file_path": path, "content": format!("{text}\n")}),
    };
    Step::Tool { name: name.to_owned(), input }
}

/// The first of these tools that is on offer.
fn offered(ask: &Ask, names: &[&'static str]) -> Option<(&'static str, Form)> {
    names.iter().find_map(|name| Some((*name, *ask.tools.get(*name)?)))
}

fn none_of(names: &[&str]) -> Step {
    Step::Text(format!("none of these tools is on offer: {}", names.join(", ")))
}

/// A text of that many bytes, in pieces.
fn big(size: usize) -> Vec<Step> {
    let size = size.min(MAX_BIG);
    let piece = |at: usize| Step::Text("x".repeat(PIECE.min(size - at)));
    (0..size).step_by(PIECE).map(piece).collect()
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
        let tools = ["Bash", "Write"].map(|name| (name.to_owned(), Form::Json)).into();
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
        assert_eq!(text(&asked("length xyz")), "length=10");
        assert_eq!(text(&asked("big 10000")), "x".repeat(10_000));
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
    fn codex_is_called_in_its_own_ways() {
        let call = |tool: &str, form, text: &str| {
            let ask = Ask { text: text.into(), tools: [(tool.to_owned(), form)].into(), ..Ask::default() };
            let [Step::Tool { name, input }] = &plan(&ask, Duration::ZERO)[..] else { panic!("one call") };
            assert_eq!(name, tool);
            input.clone()
        };
        assert_eq!(call("exec_command", Form::Json, "run ls"), json!({"cmd": "ls"}));
        assert_eq!(call("exec_command", Form::Json, "ask ls")["sandbox_permissions"], "require_escalated");
        assert_eq!(call("shell", Form::Json, "run ls"), json!({"command": ["bash", "-lc", "ls"]}));
        assert!(
            call("exec", Form::Text, "run ls").as_str().is_some_and(|js| js.contains(r#"exec_command({"cmd":"ls"})"#))
        );
        let patch = call("apply_patch", Form::Text, "write /a b");
        assert_eq!(patch, "*** Begin Patch\n*** Add File: /a\n+b\n*** End Patch\n");
        assert_eq!(call("exec_command", Form::Json, "write /a b"), json!({"cmd": "printf '%s\\n' 'b' > '/a'"}));
    }

    #[test]
    fn a_title_is_a_title() {
        let ask = Ask { text: "hang 600".into(), aside: true, ..Ask::default() };
        assert_eq!(text(&plan(&ask, Duration::ZERO)), "A title");
    }

    #[test]
    fn a_tool_result_ends_the_turn_with_its_output() {
        let ask = Ask { text: "run pwd".into(), tool_output: Some("/workspace\n".into()), ..Ask::default() };
        assert_eq!(text(&plan(&ask, Duration::ZERO)), "DONE\n/workspace");
    }
}
