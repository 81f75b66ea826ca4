//! What may happen to a session next, by chance.

use super::*;

/// What may happen next; the numbers choose among what is possible.
#[derive(Clone, Debug)]
pub(super) enum Act {
    Prompt {
        front: bool,
    },
    /// A prompt that ends the running turn: both are one commit.
    Interrupt,
    Withdraw {
        which: usize,
    },
    Cancel,
    Answer {
        which: usize,
    },
    Wake,
    Suspend {
        by_hand: bool,
    },
    Reset,
    Close,
    Dirty,
    Idle,
    Inactive,
    Policy {
        policy: PermissionPolicy,
    },
    /// The daemon dies and another takes over; `unreadable`: it can't read the adapter's state.
    Restart {
        unreadable: bool,
    },
    /// The next commit is not like others.
    Doom {
        death: Death,
    },
    /// The store refused again and again: the session is left alone.
    Poison,
    ContainerDies,
    AgentDies,
    /// The daemon's task that carries out an effect panics, before or after it did.
    Panics {
        which: usize,
    },
    /// One of the effects comes to its result, which is told; `fails`: a bad one.
    Resolve {
        which: usize,
        fails: bool,
    },
    /// One of the effects comes to its result, which is not told yet.
    Execute {
        which: usize,
        fails: bool,
    },
    /// A result is told.
    Deliver {
        which: usize,
    },
    /// tether reports what it took.
    Taken,
    /// The agent does its next thing, attached or not.
    Works {
        choice: u8,
    },
    /// Some of what the agent said is heard, as one commit.
    Hears {
        count: usize,
    },
    /// The agent says what makes no sense.
    Lies {
        lie: Lie,
    },
    /// The agent does its next thing, and it is heard.
    AgentActs {
        fails: bool,
    },
}

/// How the daemon dies in a commit.
#[derive(Clone, Copy, Debug)]
pub(super) enum Death {
    /// Nothing of it is durable.
    Before,
    /// It is durable, and nothing that follows from it was done.
    After,
}

/// What no agent should say.
#[derive(Clone, Copy, Debug)]
pub(super) enum Lie {
    Ended { cancelled: bool },
    Fatal,
    ResumeFailed,
    Ready,
    Linked,
    Asks,
    Withdraws,
    Unparsed,
}

fn request() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => any::<bool>().prop_map(|front| Act::Prompt { front }),
        2 => Just(Act::Interrupt),
        2 => any::<usize>().prop_map(|which| Act::Withdraw { which }),
        4 => Just(Act::Cancel),
        4 => any::<usize>().prop_map(|which| Act::Answer { which }),
        2 => Just(Act::Wake),
        2 => any::<bool>().prop_map(|by_hand| Act::Suspend { by_hand }),
        1 => Just(Act::Reset),
        1 => Just(Act::Close),
        1 => Just(Act::Dirty),
        1 => Just(Act::Idle),
        1 => Just(Act::Inactive),
        1 => prop_oneof![Just(PermissionPolicy::Ask), Just(PermissionPolicy::Allow), Just(PermissionPolicy::Deny)]
            .prop_map(|policy| Act::Policy { policy }),
    ]
}

fn fault() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => prop::bool::weighted(0.1).prop_map(|unreadable| Act::Restart { unreadable }),
        3 => prop_oneof![Just(Death::Before), Just(Death::After)].prop_map(|death| Act::Doom { death }),
        1 => Just(Act::Poison),
        2 => Just(Act::ContainerDies),
        2 => Just(Act::AgentDies),
        2 => any::<usize>().prop_map(|which| Act::Panics { which }),
        2 => lie().prop_map(|lie| Act::Lies { lie }),
    ]
}

fn lie() -> impl Strategy<Value = Lie> {
    prop_oneof![
        any::<bool>().prop_map(|cancelled| Lie::Ended { cancelled }),
        Just(Lie::Fatal),
        Just(Lie::ResumeFailed),
        Just(Lie::Ready),
        Just(Lie::Linked),
        Just(Lie::Asks),
        Just(Lie::Withdraws),
        Just(Lie::Unparsed),
    ]
}

pub(super) fn act() -> impl Strategy<Value = Act> {
    let fails = || prop::bool::weighted(0.1);
    prop_oneof![
        10 => request(),
        5 => fault(),
        12 => (any::<usize>(), fails()).prop_map(|(which, fails)| Act::Resolve { which, fails }),
        4 => (any::<usize>(), fails()).prop_map(|(which, fails)| Act::Execute { which, fails }),
        4 => any::<usize>().prop_map(|which| Act::Deliver { which }),
        4 => Just(Act::Taken),
        8 => any::<u8>().prop_map(|choice| Act::Works { choice }),
        6 => (1..4_usize).prop_map(|count| Act::Hears { count }),
        6 => fails().prop_map(|fails| Act::AgentActs { fails }),
    ]
}
