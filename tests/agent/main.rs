//! The adapters against recorded transcripts of real agents, against noise, and against the real demo agent.

mod alike;
mod captures;
mod cases;
mod codex;
mod demo;
mod endless;
mod fuzz;
#[path = "../support/fuzz.rs"]
mod fuzz_time;
#[path = "../support/mutate.rs"]
mod mutate;
mod script;
