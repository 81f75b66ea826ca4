//! The demo agent: an ACP agent over stdio that needs no key and no network, for the first run and for tests.

mod agent;
mod history;
mod shell;
mod turn;
mod verb;
mod wire;

pub use agent::run;
