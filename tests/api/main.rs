//! The HTTP API of the real daemon: every answer against `/openapi.json`, bad input, access, streams, stop and start.

#[path = "../support/mod.rs"]
mod support;

mod access;
mod away;
mod bad_input;
mod names;
mod sessions;
mod state_dir;
mod stop;
mod streams;
mod world;
