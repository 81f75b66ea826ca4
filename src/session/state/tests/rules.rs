//! The rules of a session, each on the machine alone.

use serde_json::value::RawValue;

use super::*;

/// A session whose agent is ready.
pub(super) fn ready() -> World {
    let mut world = World::new();
    world.input(Input::Wake);
    world.settle();
    assert!(world.state.is_ready());
    world
}

pub(super) fn prompt(world: &mut World) -> PromptNumber {
    world.input(Input::Prompt { content: vec![], front: false, key: None });
    world.state.p.last_prompt
}

#[test]
fn dirty_is_never_acted_upon_during_a_turn_and_cleared_only_by_a_later_agent() {
    let mut world = ready();
    let running = prompt(&mut world);
    world.input(Input::Dirty { reason: Some("new key".into()) });
    let waiting = prompt(&mut world);
    assert_eq!((world.state.turn_number(), world.state.ending), (Some(running), None));
    assert_eq!(world.state.p.runs, 1);
    // The end of the turn ends the agent; the next turn is its successor's.
    while world.state.p.turn.is_some() {
        world.state.p.dirty.as_ref().expect("still marked");
        let flush = world.effects.iter().position(|e| *e == Effect::Flush);
        if let Some(at) = flush {
            world.act(Act::Resolve { which: at, fails: false });
        }
        world.taken();
        world.agent_acts(false);
    }
    assert_eq!(world.state.ending, Some(Ending::Restart));
    assert!(world.state.p.dirty.is_some(), "not cleared before the new agent is ready");
    world.settle();
    assert_eq!((world.state.p.runs, world.state.p.dirty.as_ref()), (2, None));
    assert_eq!(world.ended()[&waiting], PromptState::Done);
}

#[test]
fn dirty_stays_when_the_start_fails() {
    let mut world = ready();
    world.input(Input::Dirty { reason: None });
    prompt(&mut world);
    while !world.effects.iter().any(|e| matches!(e, Effect::Start { .. })) {
        world.effects.retain(|e| !matches!(e, Effect::ArmHandshake { .. }));
        if !world.effects.is_empty() {
            world.act(Act::Resolve { which: 0, fails: false });
        }
        world.agent_acts(false);
    }
    let start = world.effects.iter().position(|e| matches!(e, Effect::Start { .. })).expect("a start");
    world.act(Act::Resolve { which: start, fails: true });
    assert_eq!(world.state.p.status, SessionStatus::Error);
    assert!(world.state.p.dirty.is_some());
    world.act(Act::Wake);
    world.settle();
    assert!(world.state.p.dirty.is_none() && world.state.p.queue.is_empty());
}

#[test]
fn an_inactive_turn_fails_and_its_end_is_proven() {
    let mut world = ready();
    let n = prompt(&mut world);
    world.input(Input::Inactive { n, silence: std::time::Duration::from_secs(600) });
    assert_eq!(world.state.turn_number(), Some(n), "nothing is told before it is proven");
    world.settle();
    assert_eq!(world.ended()[&n], PromptState::Failed);
    // A turn that waits for a person is not inactive.
    let n = prompt(&mut world);
    let options = Vec::new();
    let asked = Output::PermissionRequested { id: "p".into(), tool_call: json!({}), options };
    world.input(Input::Agent(asked));
    assert_eq!(world.state.is_working(), None);
    world.input(Input::Inactive { n, silence: std::time::Duration::from_secs(600) });
    assert!(!world.state.p.turn.as_ref().expect("it runs").cancelling);
}

#[test]
fn idle_ends_an_agent_without_work_only() {
    let mut world = ready();
    let n = prompt(&mut world);
    world.input(Input::Idle);
    assert_eq!(world.state.ending, None, "a turn in flight is never swept");
    world.settle();
    assert_eq!(world.ended()[&n], PromptState::Done);
    world.input(Input::Idle);
    world.settle();
    assert_eq!((world.state.p.status, world.state.link), (SessionStatus::Suspended, Link::Down));
    let n = prompt(&mut world);
    world.settle();
    assert_eq!(world.ended()[&n], PromptState::Done, "the next prompt wakes it");
}

#[test]
fn the_last_hundred_finished_prompts_are_kept() {
    let mut world = World::new();
    let mut dropped = |input| {
        let mut step = Step::default();
        world.state.apply(input, Timestamp::from_millis(0), &mut step);
        let dropped = step.prompts.into_iter().filter(|(_, change)| *change == PromptChange::Dropped);
        dropped.map(|(n, _)| n).collect::<Vec<_>>()
    };
    let mut early = dropped(Input::Prompt { content: vec![], front: false, key: None });
    for n in 2..=105 {
        early.extend(dropped(Input::Prompt { content: vec![], front: true, key: None }));
        early.extend(dropped(Input::Withdraw { n }));
    }
    assert_eq!(early, Vec::<u64>::new(), "one that waits is not passed over");
    assert_eq!(dropped(Input::Withdraw { n: 1 }), [1, 2, 3, 4, 5]);
    assert_eq!(world.state.p.first_prompt, 6);
}

#[test]
fn a_reset_keeps_what_was_spent() {
    let mut world = ready();
    let report = |amount: &str| {
        let update = format!(
            r#"{{"sessionUpdate":"usage_update","used":1,"size":2,"cost":{{"amount":{amount},"currency":"USD"}}}}"#
        );
        Input::Agent(Output::Update(RawValue::from_string(update).unwrap()))
    };
    for amount in ["0.5", "1.25", "-3", "0.25"] {
        world.input(report(amount));
    }
    let text = r#"{"sessionUpdate":"agent_message_chunk","content":{"text":"\"usage_update\""},"cost":{"amount":9}}"#;
    world.input(Input::Agent(Output::Update(RawValue::from_string(text.to_owned()).unwrap())));
    assert!((world.state.p.spent.cost() - 1.5).abs() < 1e-9, "a count that goes back began afresh");
    prompt(&mut world);
    world.settle();
    world.input(Input::Reset);
    world.settle();
    assert_eq!((world.state.p.turns, world.state.p.spent.turns), (0, 1));
    world.input(report("2"));
    assert!((world.state.p.spent.cost() - 3.5).abs() < 1e-9);
}

#[test]
fn a_crash_loop_is_stopped_and_said() {
    let mut world = World::new();
    world.input(Input::Prompt { content: vec![], front: false, key: None });
    for _ in 0..DEATHS_MAX {
        while !world.effects.is_empty() {
            world.act(Act::Resolve { which: 0, fails: false });
            world.effects.retain(|effect| !matches!(effect, Effect::ArmHandshake { .. }));
        }
        world.act(Act::AgentDies);
        world.agent_acts(false);
    }
    assert_eq!(world.state.p.status, SessionStatus::Error);
    assert!(world.state.p.error.as_ref().unwrap().message.contains("3 times within a minute"));
    assert_eq!(world.state.p.queue, [1], "the prompt waits for the restore");
}

#[test]
fn without_an_id_to_resume_by_it_never_begins_afresh_by_itself() {
    let mut world = World::new();
    world.state.p.turns = 1;
    world.input(Input::Prompt { content: vec![], front: false, key: None });
    world.settle();
    assert_eq!(world.state.p.status, SessionStatus::Error);
    assert!(world.procs.is_empty());
}

#[test]
fn an_undelivered_prompt_is_tried_three_times_then_it_has_failed() {
    let mut world = ready();
    let n = prompt(&mut world);
    for attempt in 1..=ATTEMPTS_MAX {
        assert_eq!(world.state.turn_number(), Some(n), "attempt {attempt}");
        // The agent dies, and tether has not taken the prompt.
        world.effects.retain(|effect| !matches!(effect, Effect::Flush));
        world.act(Act::AgentDies);
        world.agent_acts(false);
        while world.state.turn_number().is_none() && world.state.p.status != SessionStatus::Error {
            world.effects.retain(|effect| !matches!(effect, Effect::ArmHandshake { .. }));
            if !world.effects.is_empty() {
                world.act(Act::Resolve { which: 0, fails: false });
            }
            world.taken();
            world.agent_acts(false);
        }
    }
    assert_eq!(world.ended()[&n], PromptState::Failed);
    assert!(!world.given.contains(&n), "no agent ever had it");
}
