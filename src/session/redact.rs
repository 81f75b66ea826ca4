//! Takes secrets out of what an agent says, before it is an event (guarantee 12).

use std::borrow::Cow;

use aho_corasick::{AhoCorasick, MatchKind};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::agent::Secrets;
use crate::agent::adapter::Output;

/// What stands where a secret stood.
const REDACTED: &str = "[redacted]";
/// How much of a secret may show where it comes in pieces; less than this looks like anything.
const SHORTEST: usize = 8;
/// The longest secret that is followed from one piece of a text to the next.
const LONGEST_STREAMED: usize = 1024;

/// Finds the secrets of a session's agent; without any, everything passes as it is.
#[derive(Default)]
pub(super) struct Redactor {
    secrets: Secrets,
    found: Option<Needles>,
    message: Stream,
    thought: Stream,
}

/// The secrets in every form in which they may stand in an agent's output.
struct Needles {
    all: AhoCorasick,
    /// Those that are followed through a text that comes in pieces.
    streamed: Vec<String>,
    /// The longest of them.
    reach: usize,
}

/// A text that comes in pieces.
#[derive(Default)]
struct Stream {
    /// The end of what came before, as the agent said it.
    tail: String,
}

impl Redactor {
    /// Looks for these from now on too. What was looked for before stays: a resumed agent may repeat it.
    pub(super) fn add(&mut self, secrets: &Secrets) {
        let before = self.secrets.clone();
        self.secrets.join(secrets);
        if self.secrets.is_full() {
            // Replaced a thousand times: those of now are what counts.
            self.secrets = secrets.clone();
        }
        if self.secrets != before {
            self.found = Needles::new(&self.secrets);
        }
    }

    /// A text.
    pub(super) fn text(&self, text: String) -> String {
        match &self.found {
            Some(needles) => needles.text(text),
            None => text,
        }
    }

    /// Whether a JSON text holds one.
    pub(super) fn finds(&self, json: &str) -> bool {
        self.found.as_ref().is_some_and(|needles| needles.all.is_match(json))
    }

    /// What an adapter has learned. What goes back to the agent is left as it is.
    pub(super) fn output(&mut self, output: Output) -> Output {
        let Some(needles) = &self.found else { return output };
        match output {
            Output::Update(raw) => Output::Update(self.update(raw)),
            Output::ResumeFailed { message } => Output::ResumeFailed { message: needles.text(message) },
            Output::Fatal { message } => Output::Fatal { message: needles.text(message) },
            Output::Unparsed { line } => Output::Unparsed { line: needles.line(line) },
            Output::PermissionRequested { id, mut tool_call, options } => {
                needles.value(&mut tool_call);
                Output::PermissionRequested { id, tool_call, options }
            }
            Output::TurnEnded(mut end) => {
                if let Some(error) = &mut end.error {
                    error.message = needles.text(std::mem::take(&mut error.message));
                }
                self.message.tail.clear();
                self.thought.tail.clear();
                Output::TurnEnded(end)
            }
            other @ (Output::Send(_) | Output::Ready | Output::Linked { .. } | Output::PermissionWithdrawn { .. }) => {
                other
            }
        }
    }

    fn update(&mut self, raw: Box<RawValue>) -> Box<RawValue> {
        let Some(needles) = &self.found else { return raw };
        let piece = Piece::read(raw.get()).and_then(|piece| {
            let stream = if piece.kind == MESSAGE { &mut self.message } else { &mut self.thought };
            stream.piece(needles, &piece.content.text)
        });
        if piece.is_none() && !needles.all.is_match(raw.get()) {
            return raw;
        }
        let Ok(mut json) = serde_json::from_str::<Value>(raw.get()) else { return raw };
        if let (Some(clean), Some(text)) = (piece, json.pointer_mut("/content/text")) {
            *text = clean.into();
        }
        needles.value(&mut json);
        serde_json::value::to_raw_value(&json).unwrap_or(raw)
    }
}

const MESSAGE: &str = "agent_message_chunk";
const THOUGHT: &str = "agent_thought_chunk";

/// An update that is a piece of a text; nearly every one is.
#[derive(serde::Deserialize)]
struct Piece<'a> {
    #[serde(rename = "sessionUpdate", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    content: Content<'a>,
}

#[derive(serde::Deserialize)]
struct Content<'a> {
    #[serde(borrow)]
    text: Cow<'a, str>,
}

impl<'a> Piece<'a> {
    fn read(raw: &'a str) -> Option<Self> {
        if !raw.contains(MESSAGE) && !raw.contains(THOUGHT) {
            return None;
        }
        serde_json::from_str::<Self>(raw).ok().filter(|piece| [MESSAGE, THOUGHT].contains(&&*piece.kind))
    }
}

impl Needles {
    fn new(secrets: &Secrets) -> Option<Self> {
        let mut all: Vec<String> = secrets.iter().flat_map(forms).collect();
        all.sort_unstable();
        all.dedup();
        let streamed: Vec<_> =
            secrets.iter().filter(|secret| secret.len() <= LONGEST_STREAMED).map(str::to_owned).collect();
        let reach = streamed.iter().map(String::len).max().unwrap_or_default();
        let found = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(&all);
        match found {
            Ok(found) if !all.is_empty() => Some(Self { all: found, streamed, reach }),
            Ok(_) => None,
            Err(e) => {
                tracing::error!(error = %e, "the secrets of a session can't be looked for");
                None
            }
        }
    }

    fn text(&self, text: String) -> String {
        if !self.all.is_match(&text) {
            return text;
        }
        let mut clean = String::with_capacity(text.len());
        self.all.replace_all_with(&text, &mut clean, |_, _, into| {
            into.push_str(REDACTED);
            true
        });
        clean
    }

    /// A line, which may be JSON and is to stay what it is.
    fn line(&self, line: String) -> String {
        if !self.all.is_match(&line) {
            return line;
        }
        match serde_json::from_str::<Value>(&line) {
            Ok(mut json) if json.is_object() || json.is_array() => {
                self.value(&mut json);
                json.to_string()
            }
            _ => self.text(line),
        }
    }

    /// Every string in a JSON value, names of fields included.
    fn value(&self, json: &mut Value) {
        match json {
            Value::String(text) => *text = self.text(std::mem::take(text)),
            Value::Array(items) => items.iter_mut().for_each(|item| self.value(item)),
            Value::Object(fields) => {
                fields.values_mut().for_each(|value| self.value(value));
                if fields.keys().any(|name| self.all.is_match(name)) {
                    *fields = std::mem::take(fields).into_iter().map(|(k, v)| (self.text(k), v)).collect();
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

impl Stream {
    /// The next piece without what it has of a secret; `None`: it has nothing of one.
    ///
    /// A secret that comes in pieces is not waited for: of its first bytes, fewer than `SHORTEST` may have been shown
    /// before it could be told that they are one's.
    fn piece(&mut self, needles: &Needles, piece: &str) -> Option<String> {
        let from = self.tail.len();
        let whole = std::mem::take(&mut self.tail) + piece;
        // What of the whole is a secret, or the beginning of one at its end.
        let mut hidden: Vec<(usize, usize)> = Vec::new();
        for secret in &needles.streamed {
            hidden.extend(whole.match_indices(secret.as_str()).map(|(at, found)| (at, at + found.len())));
            let longest = (SHORTEST..secret.len().min(whole.len() + 1)).rev();
            let begun = longest.filter(|&n| secret.is_char_boundary(n)).find(|&n| whole.ends_with(&secret[..n]));
            hidden.extend(begun.map(|n| (whole.len() - n, whole.len())));
        }
        self.tail = whole[whole.ceil_char_boundary(whole.len().saturating_sub(needles.reach))..].to_owned();
        hidden.retain(|(_, end)| *end > from);
        if hidden.is_empty() {
            return None;
        }
        hidden.sort_unstable();
        let (mut clean, mut at) = (String::new(), from);
        for (start, end) in hidden {
            if end <= at {
                continue;
            }
            if start > at {
                clean.push_str(&whole[at..start]);
            }
            // What goes on from the piece before was marked there.
            if start >= from || from - start < SHORTEST {
                clean.push_str(REDACTED);
            }
            at = end;
        }
        clean.push_str(&whole[at..]);
        Some(clean)
    }
}

/// A secret as it is, and as it stands in JSON, in JSON within JSON, and in the JSON of other writers.
fn forms(secret: &str) -> Vec<String> {
    let escaped = |text: &str| {
        let quoted = Value::from(text).to_string();
        quoted[1..quoted.len() - 1].to_owned()
    };
    let ascii =
        |text: &str| -> String {
            let mut units = [0; 2];
            let unit = |u: &mut u16| format!("\\u{u:04x}");
            text.chars()
                .map(|c| {
                    if c.is_ascii() { c.to_string() } else { c.encode_utf16(&mut units).iter_mut().map(unit).collect() }
                })
                .collect()
        };
    let once = escaped(secret);
    let html = once.replace('&', "\\u0026").replace('<', "\\u003c").replace('>', "\\u003e");
    let mut forms = vec![secret.to_owned(), escaped(&once), once.replace('/', "\\/"), html, ascii(&once), once];
    forms.sort_unstable();
    forms.dedup();
    forms
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SECRET: &str = "sk-0123456789-abcdef";

    fn redactor(secrets: &[&str]) -> Redactor {
        let mut known = Secrets::default();
        secrets.iter().for_each(|secret| known.named("KEY", secret));
        let mut redactor = Redactor::default();
        redactor.add(&known);
        redactor
    }

    fn raw(json: &str) -> Output {
        Output::Update(RawValue::from_string(json.to_owned()).unwrap())
    }

    fn shown(output: Output) -> String {
        match output {
            Output::Update(raw) => raw.get().to_owned(),
            Output::Unparsed { line } => line,
            other => panic!("{other:?}"),
        }
    }

    /// The text that subscribers put together.
    fn streamed(redactor: &mut Redactor, pieces: &[&str]) -> String {
        let mut all = String::new();
        for piece in pieces {
            let update = json!({"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": piece}});
            let json: Value = serde_json::from_str(&shown(redactor.output(raw(&update.to_string())))).unwrap();
            all.push_str(json["content"]["text"].as_str().unwrap());
        }
        all
    }

    #[test]
    fn what_holds_no_secret_stays_as_it_is() {
        let verbatim = r#"{"sessionUpdate":"x","b":1.50,"a":"\u0041"}"#;
        for mut redactor in [Redactor::default(), redactor(&[SECRET]), redactor(&["short"])] {
            assert_eq!(shown(redactor.output(raw(verbatim))), verbatim);
            assert_eq!(redactor.text("plain".into()), "plain");
        }
    }

    #[test]
    fn a_secret_is_found_in_every_form() {
        let odd = "pa\"ss/w\u{f6}rd\n<two>&lines";
        for secret in [SECRET, odd] {
            let mut redactor = redactor(&[secret]);
            let nested = json!({"sessionUpdate": "tool_call_update", "rawOutput": json!({"out": secret}).to_string(),
                                "content": [{"text": format!("a {secret} b")}], "rawInput": {secret: 1}});
            let clean = shown(redactor.output(raw(&nested.to_string())));
            let json: Value = serde_json::from_str(&clean).unwrap();
            assert_eq!(json["content"][0]["text"], "a [redacted] b");
            assert_eq!(
                (&json["rawOutput"], &json["rawInput"]),
                (&json!("{\"out\":\"[redacted]\"}"), &json!({"[redacted]": 1}))
            );
            assert_eq!(redactor.text(format!("{secret}{secret}")), "[redacted][redacted]");
            let line = redactor.output(Output::Unparsed { line: json!({"x": secret}).to_string() });
            assert_eq!(shown(line), r#"{"x":"[redacted]"}"#);
            assert!(redactor.finds(&json!([secret]).to_string()));
        }
        let ascii = r#"{"x":"pa\"ss\/w\u00f6rd"}"#;
        assert!(redactor(&["pa\"ss/w\u{f6}rd"]).finds(&ascii.replace("\\/", "/")));
    }

    #[test]
    fn an_escape_is_never_cut_in_two() {
        let mut redactor = redactor(&["nsecret-of-mine"]);
        let clean = shown(redactor.output(raw(r#"{"sessionUpdate":"x","a":"\nsecret-of-mine"}"#)));
        assert_eq!(serde_json::from_str::<Value>(&clean).unwrap()["a"], "\nsecret-of-mine");
    }

    #[test]
    fn a_secret_in_pieces_shows_less_than_eight_bytes() {
        for size in 1..=SECRET.len() {
            let said = format!("the key is {SECRET}, keep it");
            let pieces: Vec<_> =
                said.as_bytes().chunks(size).map(|piece| std::str::from_utf8(piece).unwrap()).collect();
            let seen = streamed(&mut redactor(&[SECRET]), &pieces);
            assert!(!seen.contains(&SECRET[..SHORTEST]) && !seen.contains(&SECRET[SHORTEST..]), "{size}: {seen}");
            assert!(seen.starts_with("the key is ") && seen.ends_with(", keep it"), "{size}: {seen}");
        }
        let mut twice = redactor(&[SECRET]);
        let seen = streamed(&mut twice, &[&SECRET[..10], &SECRET[10..], " and ", SECRET]);
        assert_eq!(seen.matches("[redacted]").count(), 2, "{seen}");
        assert_eq!(streamed(&mut redactor(&[SECRET]), &["sk-0123", " other"]), "sk-0123 other");
    }

    #[test]
    fn pieces_of_multibyte_secrets_are_no_trouble() {
        let secret = "\u{f6}\u{e4}\u{fc}-\u{20ac}\u{20ac}\u{20ac}-\u{1f600}";
        let all: Vec<String> = format!("x{secret}y").chars().map(String::from).collect();
        let pieces: Vec<&str> = all.iter().map(String::as_str).collect();
        let seen = streamed(&mut redactor(&[secret]), &pieces);
        assert!(seen.starts_with('x') && seen.ends_with('y') && !seen.contains("\u{20ac}\u{20ac}"), "{seen}");
    }
}
