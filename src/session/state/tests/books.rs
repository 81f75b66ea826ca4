//! Any order of anything, and the books are right.

use super::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn the_books_are_right_whatever_happens(acts in prop::collection::vec(act(), 1..80)) {
        let mut world = World::new();
        for act in acts {
            world.act(act);
        }
        world.settle();
        if world.state.p.error.is_none() && !world.state.is_held() {
            prop_assert_eq!(world.ended.len(), world.accepted.len(), "prompts are left: {:?}", world.state);
            prop_assert!(world.state.ending.is_none(), "an end never came: {:?}", world.state);
        }
        // A restore brings it back from whatever it was in.
        if world.state.p.closed.is_none() {
            world.act(Act::Wake);
            world.settle();
            prop_assert!(world.state.is_ready(), "a restore did not help: {:?}", world.state);
            prop_assert_eq!(world.ended.len(), world.accepted.len(), "prompts are left: {:?}", world.state);
        }
        world.act(Act::Close);
        world.settle();
        prop_assert!(world.closed);
        // Where an end could not be proven before, the next daemon proves it.
        world.act(Act::Restart);
        world.settle();
        prop_assert!(world.procs.values().all(|known| !known.alive), "{:?}", world.procs);
    }
}
