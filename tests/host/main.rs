//! The host as a workspace, a test each rule: the real daemon, its tether on this machine, the demo agent, and no engine.

#[path = "../support/mod.rs"]
mod support;

mod ends;
mod given;
mod outlives;
mod place;
mod refusals;
mod service;
