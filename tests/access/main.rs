//! Who may ask, what, how much, and by which ways: one test for each rule, named after it.

#[path = "../cli/program.rs"]
#[allow(dead_code, reason = "each test program uses a part of it")]
mod program;
#[path = "../support/mod.rs"]
mod support;

mod rates;
mod sockets;
mod terminals;
mod tls;
mod tokens;
mod ws;
