//! Noise: whatever an agent says, the adapters neither panic nor grow, and understand what makes sense again.

use proptest::prelude::*;
use serde_json::{Value, json};
use wharf::agent::{
    adapter::{Adapter, Output},
    lines::{LONGEST_LINE, Lines},
};

use crate::fuzz_time::fuzz;
use crate::mutate::{Change, Edit, change, edit};
use crate::script::{Feed, Player, Recorded, capture, catalogue, options, render};

const AGENTS: [&str; 4] = ["opencode", "demo", "claude", "codex"];

const CAPTURES: [(&str, &str); 16] = [
    ("opencode", "acp-opencode-1"),
    ("demo", "acp-opencode-1"),
    ("opencode", "acp-opencode-2-load"),
    ("opencode", "acp-opencode-3-resume"),
    ("opencode", "acp-opencode-4-permission"),
    ("demo", "acp-opencode-5-fs-error"),
    ("claude", "claude-1-multiturn"),
    ("claude", "claude-2-control"),
    ("claude", "claude-3-interrupt-tool"),
    ("claude", "claude-3-eof-midturn"),
    ("claude", "claude-3-resume-unknown"),
    ("codex", "codex-1-appserver"),
    ("codex", "codex-2-resume"),
    ("codex", "codex-5-tools"),
    ("codex", "codex-6-cancel"),
    ("codex", "codex-7-mcp"),
];

/// What a prompt says, to be known again in what is sent.
const PROMPT: &str = "sing of the sea";

/// The most that a state may take whatever was said; an agent that makes sense needs a tenth of it.
pub(crate) const LARGEST_STATE: usize = 256 * 1024;

fn said_by_agent(name: &str) -> Vec<Recorded> {
    capture(name).into_iter().filter(|line| line.direction == '<').collect()
}

/// What is done to a line.
#[derive(Clone, Debug)]
enum Mishap {
    Keep,
    Bytes(Vec<Change>),
    Values(Vec<Edit>),
    Twice,
    Drop,
    /// It comes after some that were behind it.
    Later(usize),
}

fn mishap() -> impl Strategy<Value = Mishap> {
    prop_oneof![
        6 => Just(Mishap::Keep),
        2 => prop::collection::vec(change(), 1..3).prop_map(Mishap::Bytes),
        5 => prop::collection::vec(edit(), 1..4).prop_map(Mishap::Values),
        1 => Just(Mishap::Twice),
        1 => Just(Mishap::Drop),
        1 => (1..9_usize).prop_map(Mishap::Later),
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
    /// Whether it has said that it takes prompts, and not that it is of no more use.
    ready: bool,
}

impl Noisy {
    fn new(agent: &'static str, resume: Option<&str>) -> Self {
        let adapter = catalogue().get(agent).unwrap().adapter();
        let mut noisy = Self { agent, adapter, lines: Lines::new(0), prompts: 0, ends: 0, ready: false };
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
            "opencode" | "demo" => vec![
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
                Output::Ready => self.ready = true,
                Output::Fatal { .. } | Output::ResumeFailed { .. } => self.ready = false,
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

    /// Gives a prompt, as a session does only to a ready agent without a turn: that must be sent at once, in the first
    /// input, since by that it is known whether it was delivered; or it has ended.
    fn prompt(&mut self) -> Vec<Output> {
        let due = self.ready && self.prompts == self.ends;
        let outputs = self.adapter.prompt(&[json!({"type": "text", "text": PROMPT})]);
        self.prompts += usize::from(!outputs.is_empty());
        let first = outputs.iter().find_map(|output| match output {
            Output::Send(text) => Some(text),
            _ => None,
        });
        let ended = outputs.iter().any(|output| matches!(output, Output::TurnEnded(_) | Output::Fatal { .. }));
        if due {
            let sent = first.is_some_and(|text| text.contains(PROMPT));
            assert!(sent || ended, "{} took a prompt and did not send it: {outputs:?}", self.agent);
        }
        outputs
    }

    fn act(&mut self, act: Act) {
        let modes = ["default", "untrusted", "build", "no such mode"];
        let outputs = match act {
            Act::Nothing => return,
            Act::Prompt => self.prompt(),
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

/// Plays a transcript with mishaps, and what clients do between the lines.
fn damaged(which: usize, skip: usize, mishaps: Vec<(Mishap, Act)>) {
    let (agent, name) = CAPTURES[which];
    let mut noisy = if skip.is_multiple_of(4) { Noisy::new(agent, None) } else { Noisy::ready(agent, name) };
    let mut lines: std::collections::VecDeque<_> = said_by_agent(name).into_iter().map(|line| line.text).collect();
    lines.drain(..skip.min(lines.len()));
    for (mishap, act) in mishaps {
        let Some(text) = lines.pop_front() else { break };
        let mut bytes = text.clone().into_bytes();
        match mishap {
            Mishap::Keep => {}
            Mishap::Bytes(changes) => changes.iter().for_each(|change| change.apply(&mut bytes)),
            Mishap::Values(edits) => bytes = edits.iter().fold(text, |text, edit| edit.apply(text)).into_bytes(),
            Mishap::Twice => noisy.feed(&[&bytes[..], b"\n"].concat()),
            Mishap::Drop => continue,
            Mishap::Later(by) => {
                lines.insert(by.min(lines.len()), text);
                continue;
            }
        }
        bytes.push(b'\n');
        noisy.feed(&bytes);
        noisy.act(act);
    }
    noisy.act(Act::Prompt);
}

#[test]
fn fuzz_damaged_transcripts() {
    let mishaps = prop::collection::vec((mishap(), act()), 20..120);
    fuzz("an adapter's transcripts", &(0..CAPTURES.len(), 0..60_usize, mishaps), |(which, skip, mishaps)| {
        damaged(which, skip, mishaps);
    });
}

#[test]
fn fuzz_random_bytes() {
    let chunks = prop::collection::vec((prop::collection::vec(any::<u8>(), 0..60), act()), 0..60);
    fuzz("an adapter's random bytes", &chunks, |chunks| {
        for agent in AGENTS {
            let mut noisy = Noisy::new(agent, Some("x"));
            for (chunk, act) in &chunks {
                noisy.feed(chunk);
                noisy.act(*act);
            }
        }
    });
}

/// Plays a transcript with what makes no sense in it: that is told as it came, and all else is understood as without it.
fn garbled(which: usize, noise: Vec<(prop::sample::Index, Vec<u8>)>) {
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
    let garbled = noisy.iter().filter(|line| line.direction == '~').map(|line| format!("unparsed {}", line.text));
    let mut said = play(&noisy);
    for line in garbled {
        let at = said.iter().position(|told| *told == line);
        said.remove(at.unwrap_or_else(|| panic!("lost: {line:?}")));
    }
    assert_eq!(said, play(&clean));
}

#[test]
fn fuzz_sense_behind_nonsense_is_understood() {
    let noise = prop::collection::vec((any::<prop::sample::Index>(), garbage()), 1..20);
    fuzz("sense behind nonsense", &(0..CAPTURES.len(), noise), |(which, noise)| garbled(which, noise));
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
