//! The agents: what wharf knows of each, and the adapters that speak their protocols; pure, no I/O.

pub mod adapter;
