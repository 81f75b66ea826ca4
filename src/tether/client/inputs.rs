//! Inputs that tether has not taken yet, per process, in their order; sent again on each connection until it has.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;

use super::TetherError;
use crate::tether::frames::{FrameError, Input};

/// The most bytes that may wait for one process.
const MAX_BYTES: usize = 64 << 20;
/// The most inputs that may wait for one process.
const MAX_COUNT: usize = 1024;

struct Waiting {
    n: u64,
    mark: bool,
    bytes: Bytes,
    sent: bool,
}

#[derive(Default)]
pub(super) struct Inputs(HashMap<String, VecDeque<Waiting>>);

impl Inputs {
    pub(super) fn add(&mut self, process: String, n: u64, mark: bool, bytes: Bytes) -> Result<(), TetherError> {
        let queue = self.0.entry(process).or_default();
        if let Some(last) = queue.back() {
            if n <= last.n && queue.iter().any(|waiting| waiting.n == n) {
                return Ok(());
            }
            if n != last.n + 1 {
                return Err(TetherError::Invalid(format!("input {n} after input {}", last.n)));
            }
        }
        let waiting: usize = queue.iter().map(|waiting| waiting.bytes.len()).sum();
        if queue.len() >= MAX_COUNT || waiting + bytes.len() > MAX_BYTES {
            return Err(TetherError::Full("too much input waits for tether to take it".to_owned()));
        }
        queue.push_back(Waiting { n, mark, bytes, sent: false });
        Ok(())
    }

    /// Appends the next unsent input to `out`; `false` when there is none.
    pub(super) fn encode_next(&mut self, out: &mut Vec<u8>) -> Result<bool, FrameError> {
        for (process, queue) in &mut self.0 {
            // One at a time: a refusal of one then says for certain that no later one was taken.
            if let Some(waiting) = queue.front_mut().filter(|waiting| !waiting.sent) {
                waiting.sent = true;
                Input { process, n: waiting.n, mark: waiting.mark, bytes: &waiting.bytes }.encode(out)?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// tether has taken all up to `n`; returns the numbers of those that waited, in order.
    pub(super) fn taken(&mut self, process: &str, n: u64) -> Vec<u64> {
        self.remove(process, |waiting| waiting.n <= n)
    }

    /// tether has refused `n`: it and what follows can't be taken any more.
    pub(super) fn rejected(&mut self, process: &str, n: u64) -> Vec<u64> {
        self.remove(process, |waiting| waiting.n >= n)
    }

    fn remove(&mut self, process: &str, which: impl Fn(&Waiting) -> bool) -> Vec<u64> {
        let Some(queue) = self.0.get_mut(process) else { return Vec::new() };
        let removed = queue.iter().filter(|waiting| which(waiting)).map(|waiting| waiting.n).collect();
        queue.retain(|waiting| !which(waiting));
        if queue.is_empty() {
            self.0.remove(process);
        }
        removed
    }

    /// The processes for which some wait.
    pub(super) fn processes(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    pub(super) fn disconnected(&mut self) {
        self.0.values_mut().flatten().for_each(|waiting| waiting.sent = false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(inputs: &mut Inputs) -> usize {
        let mut out = Vec::new();
        std::iter::from_fn(|| inputs.encode_next(&mut out).unwrap().then_some(())).count()
    }

    #[test]
    fn an_input_is_sent_on_each_connection_until_taken() {
        let mut inputs = Inputs::default();
        for n in 4..=6 {
            inputs.add("p".into(), n, false, Bytes::from_static(b"x")).unwrap();
        }
        assert_eq!((sent(&mut inputs), sent(&mut inputs)), (1, 0));
        assert_eq!(inputs.taken("p", 4), [4]);
        assert_eq!((sent(&mut inputs), sent(&mut inputs)), (1, 0));
        inputs.disconnected();
        assert_eq!((sent(&mut inputs), sent(&mut inputs)), (1, 0));
        assert_eq!(inputs.rejected("p", 5), [5, 6]);
        assert!(inputs.processes().is_empty());
    }

    #[test]
    fn gaps_and_floods_are_refused_and_a_repetition_is_none() {
        let mut inputs = Inputs::default();
        inputs.add("p".into(), 7, false, Bytes::new()).unwrap();
        inputs.add("p".into(), 7, false, Bytes::new()).unwrap();
        assert_eq!(sent(&mut inputs), 1);
        assert!(matches!(inputs.add("p".into(), 9, false, Bytes::new()), Err(TetherError::Invalid(_))));
        assert!(matches!(inputs.add("p".into(), 6, false, Bytes::new()), Err(TetherError::Invalid(_))));
        let huge = Bytes::from(vec![0; MAX_BYTES + 1]);
        assert!(matches!(inputs.add("p".into(), 8, false, huge), Err(TetherError::Full(_))));
    }
}
