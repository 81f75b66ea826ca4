//! The agents: what wharf knows of each, and the adapters that speak their protocols; pure, no I/O.

mod acp;
pub mod adapter;
mod catalogue;
mod claude;
mod codex;
pub mod lines;
mod outputs;

pub use catalogue::{AgentConfig, AgentEntry, Catalogue, CatalogueError, Protocol, RestoreError};
