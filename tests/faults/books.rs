//! The check after the faults: what was accepted, delivered, written and seen has to agree.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;

use super::{
    api::PATIENCE,
    driven::{Driven, Kind, Sent},
    ledger::{Checked, Ledger},
    reader::{Reader, digest},
};

/// How often a prompt may be tried: what was not delivered is tried again.
const ATTEMPTS: u64 = 3;

/// What the faults since the last check may have cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cost {
    /// Nothing: every turn comes to its own end.
    Nothing,
    /// The turn that ran: its agent or its container died.
    Turns,
}

/// What the log tells of one prompt.
#[derive(Debug, Default)]
struct Told {
    queued: u64,
    started: u64,
    ended: u64,
    status: String,
    /// What its end says of an error.
    error: String,
    text: String,
}

/// Checks one session and goes on from there; answers what was compared.
pub async fn check(session: &mut Driven, cost: Cost, ledger: &mut Ledger) -> Checked {
    for wrong in std::mem::take(&mut session.wrong) {
        ledger.violated(1, wrong);
    }
    if let Err(stuck) = session.settle().await {
        ledger.violated(1, stuck);
    }
    let events = match session.unchecked().await {
        Ok(events) => events,
        Err(why) => {
            ledger.violated(4, why);
            return Checked::default();
        }
    };
    sequence(session, &events, ledger);
    seen(session, &events, ledger).await;
    let prompts = prompts(session, &events, cost, ledger);
    found(session, ledger).await;
    delivered(session, &prompts, ledger).await;
    session.checked += events.len() as u64;
    let accounted = std::mem::replace(&mut session.accounted, session.sent.len());
    Checked { prompts: (session.sent.len() - accounted) as u64, events: events.len() as u64, faults: 0 }
}

fn sequence(session: &Driven, events: &[Value], ledger: &mut Ledger) {
    for (expected, event) in (session.checked + 1..).zip(events) {
        if event["seq"].as_u64() != Some(expected) {
            return ledger
                .violated(3, format!("{}: where {expected} is expected, the log has {}", session.id, event["seq"]));
        }
    }
}

/// Every subscriber saw exactly what the log has.
async fn seen(session: &mut Driven, events: &[Value], ledger: &mut Ledger) {
    let (from, id) = (session.checked as usize, session.id.clone());
    for (name, reader) in [("steady", &mut session.steady), ("fickle", &mut session.fickle)] {
        if let Err(late) = reader.reaches((from + events.len()) as u64, PATIENCE).await {
            ledger.violated(5, format!("{id}: {name}: {late}"));
            continue;
        }
        compare(&id, name, reader, from, events, ledger);
    }
}

fn compare(id: &str, name: &str, reader: &Reader, from: usize, events: &[Value], ledger: &mut Ledger) {
    reader.seen(|seen| {
        for wrong in seen.wrong.drain(..) {
            ledger.violated(5, format!("{id}: {name}: {wrong}"));
        }
        for (event, saw) in events.iter().zip(&seen.digests[from..]) {
            if digest(event) != *saw {
                ledger.violated(4, format!("{id}: {name} saw something else as event {}", event["seq"]));
                return;
            }
        }
    });
}

/// What the log tells of the prompts.
fn told(events: &[Value]) -> BTreeMap<u64, Told> {
    let mut told: BTreeMap<u64, Told> = BTreeMap::new();
    for event in events {
        let data = &event["data"];
        let prompt = data["prompt"].as_u64();
        match (event["type"].as_str().unwrap_or_default(), prompt) {
            ("prompt.queued", Some(n)) => told.entry(n).or_default().queued += 1,
            ("turn.started", Some(n)) => told.entry(n).or_default().started += 1,
            ("turn.ended", Some(n)) => {
                let told = told.entry(n).or_default();
                told.ended += 1;
                data["status"].as_str().unwrap_or_default().clone_into(&mut told.status);
                told.error = data["error"]["message"].as_str().map_or_else(String::new, |why| format!(": {why}"));
            }
            ("update", _) if data["sessionUpdate"] == "agent_message_chunk" => {
                let turn = event["turn"].as_str().and_then(|turn| turn.strip_prefix("turn_")?.parse().ok());
                if let (Some(n), Some(text)) = (turn, data["content"]["text"].as_str()) {
                    told.entry(n).or_default().text.push_str(text);
                }
            }
            _ => {}
        }
    }
    told
}

/// What the log tells of the prompts, against what was accepted; answers each prompt's final state.
fn prompts(session: &Driven, events: &[Value], cost: Cost, ledger: &mut Ledger) -> BTreeMap<u64, String> {
    let (told, id) = (told(events), &session.id);
    let fresh = &session.sent[session.accounted..];
    for sent in fresh {
        match told.get(&sent.n) {
            Some(told) => prompt(id, sent, told, cost, ledger),
            None => ledger.violated(1, format!("{id}: prompt {} was accepted and is nowhere", sent.n)),
        }
    }
    let known: BTreeSet<u64> = fresh.iter().map(|sent| sent.n).collect();
    if known.len() < fresh.len() {
        // Whoever came first with it was forgotten.
        let numbers: Vec<u64> = fresh.iter().map(|sent| sent.n).collect();
        ledger.violated(1, format!("{id}: a number was given to two prompts: {numbers:?}"));
    }
    let strangers = told.keys().filter(|n| !known.contains(*n)).count();
    if strangers > 0 {
        ledger.violated(1, format!("{id}: {strangers} prompts that nobody sent"));
    }
    told.into_iter().map(|(n, told)| (n, told.status)).collect()
}

/// One prompt was queued once, ended once as it may, and answered with what it asked for.
fn prompt(id: &str, sent: &Sent, told: &Told, cost: Cost, ledger: &mut Ledger) {
    if told.queued != 1 || told.ended != 1 || told.started > ATTEMPTS {
        ledger.violated(2, format!("{id}: prompt {} ({}): {told:?}", sent.n, sent.token));
    }
    if let Some(ends) = sent.ends
        && !ends.contains(&told.status.as_str())
    {
        ledger.violated(2, format!("{id}: prompt {} ended as {}{}, not as {ends:?}", sent.n, told.status, told.error));
    }
    let lost = sent.ends.is_none() && told.status != "done" && !(sent.cancelled && told.status == "cancelled");
    if lost && cost == Cost::Nothing {
        ledger.violated(3, format!("{id}: prompt {} ({:?}) ended as {}{}", sent.n, sent.kind, told.status, told.error));
    }
    // A tool that was killed says less.
    let is_whole = told.status == "done" && !sent.cancelled && (cost == Cost::Nothing || sent.kind != Kind::Run);
    if let Some(answer) = sent.answer()
        && is_whole
        && told.text != answer
    {
        let (got, wanted) = (short(&told.text), short(&answer));
        ledger.violated(3, format!("{id}: prompt {} answered {got:?} and not {wanted:?}", sent.n));
    }
    if matches!(sent.kind, Kind::Tool(_)) && told.status == "done" && !told.text.contains(&sent.token) {
        let got = short(&told.text);
        ledger.violated(3, format!("{id}: prompt {} answered {got:?}, without {}", sent.n, sent.token));
    }
}

/// It is found by each of its names, and it is still the same conversation.
async fn found(session: &mut Driven, ledger: &mut Ledger) {
    let mut names = vec![session.id.clone(), session.key.clone()];
    names.extend(session.agent_session.clone());
    for name in names {
        match session.api.get(&format!("/v1/sessions/{name}")).await {
            Ok(found) if found["id"] == session.id.as_str() => {
                let now = found["agent_session_id"].as_str().map(str::to_owned);
                if session.agent_session.is_some() && now != session.agent_session {
                    let before = &session.agent_session;
                    ledger.violated(7, format!("{}: the conversation was {before:?} and is {now:?}", session.id));
                }
                session.agent_session = now.or(session.agent_session.take());
            }
            other => ledger.violated(7, format!("{} is not found by {name}: {other:?}", session.id)),
        }
    }
}

/// What the agent was given, as it counted on its own disk.
async fn delivered(session: &Driven, ends: &BTreeMap<u64, String>, ledger: &mut Ledger) {
    let order = match session.given().await {
        Ok(order) => order,
        Err(why) => return ledger.violated(7, format!("the count of what the agent was given can't be read: {why}")),
    };
    let mut given: HashMap<&str, u64> = HashMap::new();
    for token in &order {
        *given.entry(token).or_default() += 1;
    }
    for sent in &session.sent {
        let times = given.remove(sent.token.as_str()).unwrap_or(0);
        let done = ends.get(&sent.n).is_some_and(|status| status == "done");
        if times > 1 || (done && times == 0) {
            ledger.violated(2, format!("{}: prompt {} ({}) was given {times} times", session.id, sent.n, sent.token));
        }
    }
    if let Some((token, _)) = given.iter().next() {
        ledger.violated(2, format!("{}: the agent was given {token}, which was never accepted", session.id));
    }
    let place: HashMap<&str, u64> = session.sent.iter().map(|sent| (sent.token.as_str(), sent.n)).collect();
    let numbers: Vec<u64> = order.iter().filter_map(|token| place.get(token.as_str()).copied()).collect();
    if !numbers.is_sorted() {
        ledger.violated(2, format!("{}: the prompts were given out of their order: {numbers:?}", session.id));
    }
}

/// Enough of a text to tell what it is.
fn short(text: &str) -> String {
    let (begin, end) = (text.chars().take(60).collect::<String>(), text.chars().rev().take(20).collect::<Vec<_>>());
    format!("{begin}…{} ({} bytes)", end.into_iter().rev().collect::<String>(), text.len())
}
