//! What a run is to do: how much, of what, and from which seed.

/// What a part of the run gets.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Everything that is left to chance comes from it.
    pub seed: u64,
    /// Faults to inject.
    pub rounds: u64,
    /// The most chunks of a burst.
    pub burst: u64,
}
