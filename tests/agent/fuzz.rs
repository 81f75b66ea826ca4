//! Noise: whatever an agent says, the adapters neither panic nor grow, and understand what makes sense again.

use proptest::prelude::*;
use serde_json::{Value, json};
use wharf::agent::{
    adapter::{Adapter, Output},
    lines::{LONGEST_LINE, Lines},
};

use crate::script::{Feed, Player, Recorded, capture, catalogue, options, render};

const AGENTS: [&str; 3] = ["opencode", "claude", "codex"];

const CAPTURES: [(&str, &str); 10] = [
    ("opencode", "acp-opencode-1"),
    ("opencode", "acp-opencode-2-load"),
    ("opencode", "acp-opencode-4-permission"),
    ("claude", "claude-2-control"),
    ("claude", "claude-3-interrupt-tool"),
    ("claude", "claude-3-resume-unknown"),
    ("codex", "codex-1-appserver"),
    ("codex", "codex-2-resume"),
    ("codex", "codex-5-tools"),
    ("codex", "codex-7-mcp"),
];

/// The most that a state may take whatever was said; an agent that makes sense needs a tenth of it.
pub(crate) const LARGEST_STATE: usize = 256 * 1024;

fn said_by_agent(name: &str) -> Vec<Recorded> {
    capture(name).into_iter().filter(|line| line.direction == '<').collect()
}

/// What is done to a line.
#[derive(Clone, Debug)]
enum Change {
    Keep,
    Cut(usize),
    Flip(usize, u8),
    Twice,
    Drop,
    Swap,
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        6 => Just(Change::Keep),
        1 => any::<usize>().prop_map(Change::Cut),
        2 => (any::<usize>(), any::<u8>()).prop_map(|(at, byte)| Change::Flip(at, byte)),
        1 => Just(Change::Twice),
        1 => Just(Change::Drop),
        1 => Just(Change::Swap),
    ]
}

/// What a client does between two lines.
#[derive(Clone, Copy, Debug)]
enum Act {
    Nothing,
    Prompt,
    Cancel,
    Answer(u8),
    Model,
    Mode(usize),
    Restart,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => Just(Act::Nothing),
        3 => Just(Act::Prompt),
        2 => Just(Act::Cancel),
        2 => (0..4u8).prop_map(Act::Answer),
        1 => Just(Act::Model),
        1 => (0..4usize).prop_map(Act::Mode),
        2 => Just(Act::Restart),
    ]
}

/// An adapter under noise, and what must hold of it at every moment.
struct Noisy {
    agent: &'static str,
    adapter: Box<dyn Adapter>,
    lines: Lines,
    prompts: usize,
    ends: usize,
}

impl Noisy {
    fn new(agent: &'static str, resume: Option<&str>) -> Self {
        let adapter = catalogue().get(agent).unwrap().adapter();
        let mut noisy = Self { agent, adapter, lines: Lines::new(0), prompts: 0, ends: 0 };
        let outputs = noisy.adapter.start(&options(resume));
        noisy.check(&outputs);
        noisy
    }

    /// With the handshake of a transcript's conversation behind it.
    fn ready(agent: &'static str, name: &str) -> Self {
        let text: String = capture(name).into_iter().map(|line| line.text + "\n").collect();
        let id = |key: &str| {
            let found = text.split_once(key).and_then(|(_, rest)| rest.split('"').next());
            found.unwrap_or("s").to_owned()
        };
        let answers = match agent {
            "opencode" => vec![
                json!({"jsonrpc": "2.0", "id": 1, "result": {"protocolVersion": 1}}),
                json!({"jsonrpc": "2.0", "id": 2, "result": {"sessionId": id("\"sessionId\":\"")}}),
            ],
            "claude" => vec![json!({"type": "control_response",
                "response": {"subtype": "success", "request_id": "1", "response": {}}})],
            _ => vec![
                json!({"id": 1, "result": {}}),
                json!({"id": 2, "result": {}}),
                json!({"id": 3, "result": {"thread": {"id": id("\"threadId\":\"")}}}),
            ],
        };
        let mut noisy = Self::new(agent, None);
        for answer in answers {
            noisy.feed(format!("{answer}\n").as_bytes());
        }
        noisy
    }

    fn check(&mut self, outputs: &[Output]) {
        for output in outputs {
            render(output);
            match output {
                Output::Send(text) => {
                    let line = text.strip_suffix('\n').unwrap();
                    assert!(!line.contains('\n') && serde_json::from_str::<Value>(line).is_ok(), "{text}");
                }
                Output::TurnEnded(_) => self.ends += 1,
                _ => {}
            }
        }
        assert!(self.ends <= self.prompts, "{} ends of {} prompts", self.ends, self.prompts);
        let state = self.adapter.state().to_string();
        assert!(state.len() < LARGEST_STATE, "the state has grown to {} bytes", state.len());
    }

    /// Takes bytes as they come from a process.
    fn feed(&mut self, bytes: &[u8]) {
        for line in self.lines.push(bytes) {
            let outputs = self.adapter.receive(&line.bytes);
            self.check(&outputs);
        }
        assert!(self.lines.pending() <= LONGEST_LINE);
    }

    fn act(&mut self, act: Act) {
        let modes = ["default", "untrusted", "build", "no such mode"];
        let outputs = match act {
            Act::Nothing => return,
            Act::Prompt => {
                let outputs = self.adapter.prompt(&[json!({"type": "text", "text": "é\nx"})]);
                self.prompts += usize::from(!outputs.is_empty());
                outputs
            }
            Act::Cancel => self.adapter.cancel(),
            Act::Answer(id) => self.adapter.answer_permission(&id.to_string(), "allow_once"),
            Act::Model => self.adapter.set_model("mock/mock-2").unwrap_or_default(),
            Act::Mode(which) => self.adapter.set_mode(modes[which]).unwrap_or_default(),
            Act::Restart => {
                let before = self.adapter.state();
                let state = serde_json::from_str(&before.to_string()).unwrap();
                self.adapter = catalogue().restore(self.agent, &state).unwrap();
                assert_eq!(before, self.adapter.state());
                return;
            }
        };
        self.check(&outputs);
    }
}

/// A line that no agent means.
fn garbage() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 1..80).prop_filter("it makes sense", |bytes| {
        !bytes.contains(&b'\n')
            && !bytes.ends_with(b"\r")
            && !bytes.trim_ascii().is_empty()
            && serde_json::from_slice::<Value>(bytes).is_err()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_transcripts(
        which in 0..CAPTURES.len(),
        changes in proptest::collection::vec((change(), act()), 40..120),
        skip in 0..60usize,
    ) {
        let (agent, name) = CAPTURES[which];
        let mut noisy = if skip % 4 == 0 { Noisy::new(agent, None) } else { Noisy::ready(agent, name) };
        let mut lines: std::collections::VecDeque<_> =
            said_by_agent(name).into_iter().map(|line| format!("{}\n", line.text).into_bytes()).collect();
        lines.drain(..skip.min(lines.len()));
        for (change, act) in changes {
            let Some(mut bytes) = lines.pop_front() else { break };
            match change {
                Change::Keep => noisy.feed(&bytes),
                Change::Cut(at) => {
                    bytes.truncate(at % bytes.len());
                    bytes.push(b'\n');
                    noisy.feed(&bytes);
                }
                Change::Flip(at, byte) => {
                    let at = at % bytes.len();
                    bytes[at] = byte;
                    noisy.feed(&bytes);
                }
                Change::Twice => {
                    noisy.feed(&bytes);
                    noisy.feed(&bytes);
                }
                Change::Drop => {}
                Change::Swap => {
                    if let Some(next) = lines.pop_front() {
                        noisy.feed(&next);
                    }
                    noisy.feed(&bytes);
                }
            }
            noisy.act(act);
        }
    }

    #[test]
    fn random_bytes(chunks in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 0..60), act()), 0..60)) {
        for agent in AGENTS {
            let mut noisy = Noisy::new(agent, Some("x"));
            for (chunk, act) in &chunks {
                noisy.feed(chunk);
                noisy.act(*act);
            }
        }
    }

    /// Any part of any message may be anything else: a tree of the agent's own keys with values of every kind.
    #[test]
    fn mutated_values(
        which in 0..CAPTURES.len(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..8usize, act()), 20..60),
    ) {
        let (agent, name) = CAPTURES[which];
        let lines = said_by_agent(name);
        let mut noisy = Noisy::ready(agent, name);
        for (line, place, value, act) in changes {
            let mut message: Value = serde_json::from_str(&line.get(&lines).text).unwrap();
            let mut places = Vec::new();
            pointers(&message, String::new(), &mut places);
            let place = place.get(&places);
            *message.pointer_mut(place).unwrap() = match value {
                0 => Value::Null,
                1 => json!(-1),
                2 => json!(u64::MAX),
                3 => json!("é".repeat(400)),
                4 => json!([null, "x", {"type": "text"}]),
                5 => json!({"type": "text", "text": 5}),
                6 => json!(""),
                _ => json!(1.5e300),
            };
            noisy.feed(format!("{message}\n").as_bytes());
            noisy.act(act);
        }
    }

    #[test]
    fn sense_behind_nonsense_is_understood(
        which in 0..CAPTURES.len(),
        noise in proptest::collection::vec((any::<prop::sample::Index>(), garbage()), 1..20),
    ) {
        let (agent, name) = CAPTURES[which];
        let resume = name.contains("resume").then_some("x");
        let clean = capture(name);
        let mut noisy = clean.clone();
        for (at, garbage) in noise {
            let at = at.index(noisy.len() + 1);
            noisy.insert(at, Recorded { direction: '~', text: String::from_utf8_lossy(&garbage).into_owned() });
        }
        let play = |lines: &[Recorded]| {
            let mut player = Player::new(agent, Feed::Lines);
            player.start(&options(resume));
            player.play(lines);
            player.said
        };
        let garbled: Vec<_> =
            noisy.iter().filter(|line| line.direction == '~').map(|line| format!("unparsed {}", line.text)).collect();
        let mut said = play(&noisy);
        for line in garbled {
            let at = said.iter().position(|told| *told == line);
            prop_assert!(at.is_some(), "lost: {line:?}");
            said.remove(at.unwrap());
        }
        prop_assert_eq!(said, play(&clean));
    }
}

/// Noise that no turn hears would show nothing.
#[test]
fn the_transcripts_run_turns_to_their_end() {
    for agent in AGENTS {
        let mut ends = 0;
        for (_, name) in CAPTURES.into_iter().filter(|(of, _)| *of == agent) {
            let mut noisy = Noisy::ready(agent, name);
            for line in said_by_agent(name) {
                noisy.act(Act::Prompt);
                noisy.feed(format!("{}\n", line.text).as_bytes());
            }
            ends += noisy.ends;
        }
        assert!(ends > 0, "{agent}");
    }
}

/// The places of all values in a message.
fn pointers(value: &Value, at: String, places: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                pointers(value, format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")), places);
            }
        }
        Value::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                pointers(value, format!("{at}/{index}"), places);
            }
        }
        _ => {}
    }
    places.push(at);
}
