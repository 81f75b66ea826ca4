//! What a prompt asks the demo agent to do.

use serde_json::Value;

/// The most chunks that `slow` and `burst` give, and the most bytes that `big` gives.
const MOST: u64 = 1 << 30;

/// What to do in a turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    /// Answer with this text.
    Say(String),
    /// This many chunks, one each 100 ms.
    Slow(u64),
    /// This many chunks, as fast as they go.
    Burst(u64),
    /// Run a shell command.
    Run(String),
    /// Run it once a permission was given.
    Ask(String),
    /// Think aloud, then answer.
    Think(String),
    /// Answer with an error of this status.
    Fail(u16, String),
    /// How many prompts there were.
    Count,
    /// End the process with this code.
    Exit(i32),
    /// This many bytes of output.
    Big(u64),
    /// The prompts of this session.
    Recall,
    /// The model.
    Model,
    /// The mode.
    Mode,
}

impl Verb {
    /// Reads a prompt; what is no verb is echoed.
    pub(super) fn parse(text: &str) -> Self {
        let trimmed = text.trim();
        let (word, rest) = trimmed.split_once(char::is_whitespace).unwrap_or((trimmed, ""));
        let rest = rest.trim_start();
        match (word, rest.is_empty()) {
            ("echo" | "say", _) => Self::Say(rest.to_owned()),
            ("length", false) => Self::Say(format!("length={}", trimmed.len())),
            ("error", false) => Self::error(rest).unwrap_or_else(|| Self::echo(text)),
            ("slow", false) => Self::number(rest).map_or_else(|| Self::echo(text), Self::Slow),
            ("burst", false) => Self::number(rest).map_or_else(|| Self::echo(text), Self::Burst),
            ("big", false) => Self::number(rest).map_or_else(|| Self::echo(text), Self::Big),
            ("exit", false) => rest.parse().map_or_else(|_| Self::echo(text), Self::Exit),
            ("run", false) => Self::Run(rest.to_owned()),
            ("ask", false) => Self::Ask(rest.to_owned()),
            ("think", false) => Self::Think(rest.to_owned()),
            ("fail", true) => Self::Fail(500, "the prompt asked for a failure".to_owned()),
            ("count?", true) => Self::Count,
            ("recall", true) => Self::Recall,
            ("model?", true) => Self::Model,
            ("mode?", true) => Self::Mode,
            _ => Self::echo(text),
        }
    }

    /// The first word, where it is a number in bounds; what follows it tells one prompt from another.
    fn number(rest: &str) -> Option<u64> {
        rest.split_whitespace().next()?.parse().ok().filter(|n| *n <= MOST)
    }

    /// `CODE TEXT`, where the code is an error of HTTP's.
    fn error(rest: &str) -> Option<Self> {
        let (code, message) = rest.split_once(char::is_whitespace).unwrap_or((rest, "asked for"));
        let code = code.parse().ok().filter(|code| (400..600).contains(code))?;
        Some(Self::Fail(code, message.trim_start().to_owned()))
    }

    fn echo(text: &str) -> Self {
        Self::Say(text.to_owned())
    }
}

/// The text of ACP content blocks: what is not text is named by its URI or its type.
pub(super) fn text_of(blocks: &[Value]) -> String {
    let part = |block: &Value| {
        let word = |pointer: &str| block.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        word("/text")
            .or_else(|| word("/resource/text"))
            .or_else(|| word("/uri"))
            .or_else(|| word("/resource/uri"))
            .unwrap_or_else(|| format!("[{}]", word("/type").unwrap_or_default()))
    };
    blocks.iter().map(part).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_are_read_and_all_else_is_echoed() {
        for (text, verb) in [
            ("echo a  b", Verb::Say("a  b".into())),
            ("echo", Verb::Say(String::new())),
            ("slow 50", Verb::Slow(50)),
            ("slow down please", Verb::Say("slow down please".into())),
            ("burst 1000", Verb::Burst(1000)),
            ("burst into tears", Verb::Say("burst into tears".into())),
            ("big 1000000", Verb::Big(1_000_000)),
            ("big 99999999999999999999", Verb::Say("big 99999999999999999999".into())),
            ("run echo 1 | cat", Verb::Run("echo 1 | cat".into())),
            ("run", Verb::Say("run".into())),
            ("ask ls\nls", Verb::Ask("ls\nls".into())),
            ("think hard", Verb::Think("hard".into())),
            ("fail", Verb::Fail(500, "the prompt asked for a failure".into())),
            ("error 429 slow down", Verb::Fail(429, "slow down".into())),
            ("error 42", Verb::Say("error 42".into())),
            ("error in line 3", Verb::Say("error in line 3".into())),
            ("say a b", Verb::Say("a b".into())),
            ("length of it", Verb::Say("length=12".into())),
            ("count?", Verb::Count),
            ("fail at this", Verb::Say("fail at this".into())),
            ("exit 3", Verb::Exit(3)),
            ("recall", Verb::Recall),
            ("model?", Verb::Model),
            ("mode?", Verb::Mode),
            ("héllo", Verb::Say("héllo".into())),
            ("", Verb::Say(String::new())),
        ] {
            assert_eq!(Verb::parse(text), verb, "{text:?}");
        }
    }

    #[test]
    fn blocks_become_text() {
        let blocks = [
            serde_json::json!({"type": "text", "text": "look at"}),
            serde_json::json!({"type": "resource_link", "uri": "file:///a", "name": "a"}),
            serde_json::json!({"type": "resource", "resource": {"uri": "file:///b", "text": "B"}}),
            serde_json::json!({"type": "image", "data": "AA==", "mimeType": "image/png"}),
        ];
        assert_eq!(text_of(&blocks), "look at\nfile:///a\nB\n[image]");
    }
}
