//! The agents: what wharf knows of each, and the adapters that speak their protocols; pure, no I/O.

mod acp;
pub mod adapter;
mod catalogue;
mod claude;
mod codex;
pub mod lines;
mod mcp;
mod outputs;
mod secrets;

pub use catalogue::{
    Abilities, AgentConfig, AgentEntry, Catalogue, CatalogueError, Choosing, MissingSecret, Own, Protocol,
    RestoreError, Resume, Surroundings, Way,
};
pub use secrets::Secrets;
