//! In words, what became of a container.

/// Somebody removed it.
pub(super) const REMOVED: &str = "its container was removed by somebody";
/// Somebody froze it.
pub(super) const PAUSED: &str = "its container was paused by somebody";

/// The host's tether went, and not by a call of ours.
pub(super) const HOST_ENDED: &str = "the host's tether ended, and everything that it held with it";

/// We removed it, to make another one.
pub(super) const ANEW: &str = "its container is made anew";

/// Whether a reason is the lack of memory.
pub(super) fn is_memory(reason: &str) -> bool {
    reason.contains("the memory limit of")
}

/// A process in it was killed for lack of memory, it goes on.
pub(super) fn child_oom(limit: u64) -> String {
    format!("a process in it was killed: the memory limit of {} was reached", bytes(limit))
}

/// Its PID 1 ended, with this code where known.
pub(super) fn death(exit_code: Option<i64>, oom_killed: bool, limit: u64) -> String {
    match exit_code {
        _ if oom_killed => format!("its container was killed: the memory limit of {} was reached", bytes(limit)),
        Some(137) => "its container was killed".to_owned(),
        Some(0 | 143) => "its container was stopped by somebody".to_owned(),
        Some(255) => "its container's supervisor died".to_owned(),
        Some(code) => format!("its container ended with exit code {code}"),
        None => "its container ended".to_owned(),
    }
}

fn bytes(n: u64) -> String {
    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;
    if n >= GIB && n.is_multiple_of(GIB) { format!("{} GiB", n / GIB) } else { format!("{} MiB", n / MIB) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_is_told_before_the_code() {
        assert!(death(Some(137), true, 4 << 30).contains("memory limit of 4 GiB"));
        assert_eq!(death(Some(137), false, 0), "its container was killed");
        assert!(death(Some(255), false, 0).contains("supervisor"));
        assert!(death(Some(3), false, 0).contains('3'));
        assert!(
            child_oom(100 << 20).contains("100 MiB") && is_memory(&child_oom(1)) && is_memory(&death(None, true, 1))
        );
        assert!(!is_memory(&death(Some(137), false, 1)));
    }
}
