//! The static programs that build.rs made.

/// The tether that this daemon delivers to its workspaces.
pub const TETHER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/wharf-tether"));

/// The demo agent, for the demo image and for the host.
pub const DEMO_AGENT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/wharf-demo-agent"));
