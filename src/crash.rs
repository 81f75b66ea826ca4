//! Named points at which a debug build can be told to die at once, so that tests see what a crash just there leaves.

/// All points, in the order in which a prompt passes them.
pub const POINTS: [&str; 17] = [
    "group-planned",
    "registry-written",
    "log-written",
    "registry-updated",
    "group-synced",
    "group-durable",
    "step-begun",
    "step-durable",
    "step-shown",
    "output-acknowledged",
    "effects-done",
    "workspace-asked",
    "container-made",
    "container-started",
    "workspace-connected",
    "process-started",
    "input-handed-over",
];

/// The variable that says where: `NAME:N` is the N-th pass of a point, from the start of the program.
pub const VARIABLE: &str = "WHARF_CRASH_AT";

/// The variable that names a part of the store (`registry` or `log`) that a debug build is not to sync: only then it shows
/// that a test of power cuts finds what is lost.
pub const UNSYNCED: &str = "WHARF_UNSYNCED";

/// Whether a part of the store is not to be synced. Never in a release build.
#[cfg(debug_assertions)]
pub(crate) fn unsynced(part: &str) -> bool {
    static NAMED: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    NAMED.get_or_init(|| std::env::var(UNSYNCED).ok()).as_deref() == Some(part)
}

/// Whether a part of the store is not to be synced. Never in a release build.
#[cfg(not(debug_assertions))]
#[inline]
pub(crate) const fn unsynced(_part: &str) -> bool {
    false
}

/// Dies here by `SIGKILL`, where the program was told so. In a release build it is nothing at all.
#[cfg(debug_assertions)]
pub(crate) fn point(name: &str) {
    use std::sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    };
    static PLAN: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static PASSES: AtomicU64 = AtomicU64::new(0);
    debug_assert!(POINTS.contains(&name), "{name} is no named point");
    let plan = PLAN.get_or_init(|| {
        let text = std::env::var(VARIABLE).ok()?;
        let (at, nth) = text.split_once(':')?;
        Some((at.to_owned(), nth.parse().ok()?))
    });
    let Some((at, nth)) = plan else { return };
    if at == name && PASSES.fetch_add(1, Ordering::Relaxed) + 1 == *nth {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        // Until the signal is there, nothing more is to happen on this thread.
        loop {
            std::thread::park();
        }
    }
}

/// Dies here by `SIGKILL`, where the program was told so. In a release build it is nothing at all.
#[cfg(not(debug_assertions))]
#[inline]
pub(crate) const fn point(_name: &str) {}
