//! Who may ask, what, how much, and by which ways: one test for each rule, named after it.

#[path = "../cli/program.rs"]
#[allow(dead_code, reason = "each test program uses a part of it")]
mod program;
#[path = "../support/mod.rs"]
mod support;

mod bad_input;
mod disk;
mod rates;
mod sockets;
mod terminals;
mod tls;
mod tokens;
#[path = "../api/world.rs"]
#[allow(dead_code, reason = "each test program uses a part of it")]
mod world;
mod ws;
