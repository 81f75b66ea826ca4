//! The static programs that build.rs made.

/// The tether that this daemon delivers to its workspaces.
pub const TETHER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/wharf-tether"));

/// The demo agent, for the demo image and for the host.
pub const DEMO_AGENT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/wharf-demo-agent"));

/// The variable that names another tether's file, so that tests see what an upgrade meets.
#[cfg(debug_assertions)]
pub const VARIABLE: &str = "WHARF_TETHER_FILE";

/// The tether to deliver: a debug build can be told to deliver another.
#[cfg(debug_assertions)]
pub(crate) fn tether() -> &'static [u8] {
    use std::sync::OnceLock;
    static OTHER: OnceLock<Option<Vec<u8>>> = OnceLock::new();
    let other = OTHER.get_or_init(|| std::fs::read(std::env::var_os(VARIABLE)?).ok());
    other.as_deref().unwrap_or(TETHER)
}

/// The tether to deliver.
#[cfg(not(debug_assertions))]
pub(crate) const fn tether() -> &'static [u8] {
    TETHER
}
