//! States that no request could move, or that grew without a bound: what leads out of each.

use super::rules::{prompt, ready};
use super::*;

#[test]
fn what_was_suspended_by_hand_stays_so_over_a_restart_until_the_next_request() {
    for by_hand in [true, false] {
        let mut world = ready();
        prompt(&mut world);
        let waiting = prompt(&mut world);
        world.input(Input::Suspend { by_hand });
        world.settle();
        assert_eq!((world.state.p.status, &world.state.p.queue[..]), (SessionStatus::Suspended, &[waiting][..]));
        world.act(Act::Restart { unreadable: false });
        world.settle();
        assert_eq!(world.ended().contains_key(&waiting), !by_hand, "by hand: {by_hand}");
        let next = prompt(&mut world);
        world.settle();
        assert_eq!((world.ended()[&waiting], world.ended()[&next]), (PromptState::Done, PromptState::Done));
    }
}

#[test]
fn a_panic_in_any_step_of_a_start_is_got_over_by_a_restore() {
    for steps in 0..3 {
        let mut world = World::new();
        let n = prompt(&mut world);
        for _ in 0..steps {
            world.act(Act::Resolve { which: 0, fails: false });
        }
        world.act(Act::Panics { which: 0 });
        assert_eq!(world.state.p.status, SessionStatus::Error, "after {steps} steps");
        world.act(Act::Wake);
        world.settle();
        assert_eq!(world.ended().get(&n), Some(&PromptState::Done), "after {steps} steps: {:?}", world.state);
    }
}

/// A turn that was cancelled, and an agent that could not be ended for it.
fn resists() -> (World, PromptNumber) {
    let mut world = ready();
    let n = prompt(&mut world);
    world.input(Input::Cancel);
    world.input(Input::CancelTimeout { n });
    let process = world.state.p.process.as_ref().expect("it runs").id.clone();
    world.effects.clear();
    world.input(Input::EndFailed { process, message: "it is frozen".into() });
    assert_eq!((world.state.p.status, world.state.turn_number()), (SessionStatus::Error, Some(n)));
    (world, n)
}

#[test]
fn a_cancel_that_failed_is_tried_again_by_a_cancel_and_by_a_restore() {
    for again in [Input::Cancel, Input::Wake] {
        let (mut world, n) = resists();
        world.input(again);
        assert!(world.effects.contains(&Effect::ArmCancel { n }), "{:?}", world.effects);
        world.effects.clear();
        world.input(Input::CancelTimeout { n });
        world.settle();
        assert_eq!(world.ended()[&n], PromptState::Cancelled);
    }
}

#[test]
fn a_process_whose_adapter_cannot_be_read_is_replaced_and_nothing_is_given_twice() {
    let mut world = ready();
    let (running, waiting) = (prompt(&mut world), prompt(&mut world));
    while !world.given.contains(&running) {
        world.settle_once();
    }
    world.effects.clear();
    world.attached = None;
    let kept = world.state.p.clone();
    world.state = State::new(kept, BTreeMap::new(), PermissionPolicy::Ask);
    world.input(Input::Unreadable);
    world.settle();
    assert_eq!((world.ended()[&running], world.ended()[&waiting]), (PromptState::Unknown, PromptState::Done));
    assert_eq!(world.state.p.runs, 2);
}

#[test]
fn an_agent_that_does_not_read_is_ended_before_what_waits_for_it_is_too_much() {
    let mut world = ready();
    world.effects.clear();
    for _ in 0..1_000 {
        if world.state.ending.is_none() {
            world.input(Input::Send { text: "x".repeat(100), mark: false });
        }
    }
    assert_eq!((world.state.p.status, world.state.ending), (SessionStatus::Error, Some(Ending::Useless)));
    assert!(world.state.p.process.as_ref().is_some_and(|process| process.outbox.len() < 1_000));
}

#[test]
fn more_permission_requests_than_anyone_could_answer_are_not_kept() {
    let mut world = ready();
    prompt(&mut world);
    for n in 0..1_000 {
        let asked = Output::PermissionRequested { id: n.to_string(), tool_call: json!({}), options: Vec::new() };
        world.input(Input::Agent(asked));
    }
    assert!(world.state.pending.len() < 200, "{}", world.state.pending.len());
}

#[test]
fn an_agents_id_that_no_key_could_hold_is_refused() {
    let mut world = ready();
    world.input(Input::Agent(Output::Linked { agent_session_id: "x".repeat(100_000) }));
    assert_eq!(world.state.p.status, SessionStatus::Error);
    assert_eq!(world.state.p.agent_session_id.as_deref(), Some("a"), "what it had before");
}

#[test]
fn a_close_does_not_wait_for_a_start_that_never_ends() {
    let mut world = World::new();
    world.input(Input::Wake);
    world.act(Act::Resolve { which: 0, fails: false });
    assert_eq!(world.state.link, Link::Starting);
    world.input(Input::Close);
    let armed = world.effects.iter().position(|effect| matches!(effect, Effect::ArmEnd { .. }));
    world.act(Act::Resolve { which: armed.expect("a limit"), fails: false });
    assert!(world.closed());
}

#[test]
fn what_was_being_started_when_the_session_was_closed_is_looked_for_before_it_is_said_to_be_gone() {
    let mut world = World::new();
    world.input(Input::Wake);
    world.act(Act::Resolve { which: 0, fails: false });
    world.input(Input::Close);
    world.effects.clear();
    world.input(Input::Detached { reason: "tether said nothing".into() });
    assert!(!world.closed() && world.effects.iter().any(|effect| matches!(effect, Effect::End { force: false, .. })));
    world.settle();
    assert!(world.closed());
}

#[test]
fn another_reason_for_the_same_status_is_told() {
    let mut world = ready();
    world.input(Input::Agent(Output::Fatal { message: "first".into() }));
    assert_eq!(world.state.p.status, SessionStatus::Error);
    let mut step = Step::default();
    world.apply(Input::Agent(Output::Fatal { message: "second".into() }), &mut step);
    let told = step.events.iter().any(|(_, event)| {
        matches!(event, EventData::SessionStatus { error: Some(error), .. } if error.message.starts_with("second"))
    });
    assert!(told, "{:?}", step.events);
}

#[test]
fn a_reset_before_it_is_known_what_runs_leaves_no_status_of_error_behind() {
    let mut world = ready();
    world.act(Act::Poison);
    world.act(Act::Restart { unreadable: false });
    assert_eq!((world.state.p.status, world.state.recovering), (SessionStatus::Error, true));
    world.input(Input::Reset);
    assert_ne!(world.state.p.status, SessionStatus::Error);
    world.settle();
    assert_eq!(world.state.p.status, SessionStatus::Suspended);
}

#[test]
fn a_close_that_could_not_be_proven_while_it_was_found_out_what_runs_is_told_as_one() {
    let mut world = ready();
    world.act(Act::Restart { unreadable: false });
    world.act(Act::Resolve { which: 0, fails: false });
    assert!(world.state.recovering && world.state.link == Link::Starting);
    world.input(Input::Close);
    let armed = world.effects.iter().position(|effect| matches!(effect, Effect::ArmEnd { .. }));
    world.act(Act::Resolve { which: armed.expect("a limit"), fails: false });
    assert_eq!((world.closed(), world.state.p.status), (true, SessionStatus::Closed));
}

#[test]
fn a_panic_while_the_end_of_a_closed_session_is_proven_leaves_it_to_the_next_daemon() {
    let mut world = World::new();
    world.input(Input::Wake);
    world.act(Act::Resolve { which: 0, fails: false });
    world.input(Input::Close);
    let armed = world.effects.iter().position(|effect| matches!(effect, Effect::ArmEnd { .. }));
    world.act(Act::Resolve { which: armed.expect("a limit"), fails: false });
    world.act(Act::Restart { unreadable: false });
    world.act(Act::Panics { which: 0 });
    assert!(world.state.rests(), "its actor can never go: {:?}", world.state);
}

#[test]
fn an_answer_to_one_request_is_none_to_a_later_one_that_the_agent_calls_the_same() {
    let mut world = ready();
    prompt(&mut world);
    let ask = |world: &mut World| {
        let asked = Output::PermissionRequested { id: "5".into(), tool_call: json!({}), options: Vec::new() };
        world.input(Input::Agent(asked));
        world.state.pending.keys().next().expect("it waits").clone()
    };
    let first = ask(&mut world);
    world.input(Input::Answer { id: first.clone(), option_id: "yes".into() });
    let second = ask(&mut world);
    assert_ne!(first, second);
    world.input(Input::Answer { id: first, option_id: "yes".into() });
    assert!(world.state.pending.contains_key(&second), "answered by what was said to another");
    world.input(Input::Agent(Output::PermissionWithdrawn { id: "5".into() }));
    assert!(world.state.pending.is_empty());
}
