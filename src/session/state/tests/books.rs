//! Any order of anything, with deaths of the daemon between and in all commits, and the books are right.

use super::*;
use crate::fuzz::fuzz;

fn the_books_are_right(acts: Vec<Act>) {
    let mut world = World::new();
    for act in acts {
        world.act(act);
    }
    world.settle();
    let left = |world: &World| world.disk.log.accepted - world.ended().len() as u64;
    if world.state.p.error.is_none() && !world.state.is_held() {
        assert_eq!(left(&world), 0, "prompts are left: {:?}", world.state);
        assert!(world.state.ending.is_none(), "an end never came: {:?}", world.state);
    }
    // A restore brings it back from whatever it was in.
    if world.state.p.closed.is_none() {
        world.act(Act::Wake);
        world.settle();
        if !world.state.is_ready() {
            // An agent that was dead already, or had said that it can't go on, is heard of first.
            world.act(Act::Wake);
            world.settle();
        }
        if world.state.p.error.as_ref().is_some_and(|error| error.message.contains("reset the session")) {
            // It never quietly begins with an empty memory.
            world.act(Act::Reset);
            world.act(Act::Wake);
            world.settle();
        }
        assert!(world.state.is_ready(), "a restore did not help: {:?}", world.state);
        assert_eq!(left(&world), 0, "prompts are left: {:?}", world.state);
        assert!(world.state.pending.is_empty(), "{:?}", world.state.pending);
    }
    for (n, state) in world.ended() {
        let given = world.given.contains(n);
        assert!(*state != PromptState::Done || given || world.lied, "prompt {n} is done and no agent ever had it");
    }
    world.act(Act::Close);
    world.settle();
    assert!(world.closed());
    // Where an end could not be proven before, the next daemon proves it.
    world.act(Act::Restart { unreadable: false });
    world.settle();
    assert!(world.procs.values().all(|known| !known.alive), "{:?}", world.procs);
}

#[test]
fn fuzz_the_books_are_right_whatever_happens() {
    fuzz("the session's books", &prop::collection::vec(act(), 1..90), the_books_are_right);
}
