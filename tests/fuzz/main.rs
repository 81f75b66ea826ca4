//! Fuzzers of a real daemon and a real tether: `FUZZ_SECONDS` each, from `FUZZ_SEED`; see `support/fuzz.rs`.

mod frames;
#[path = "../support/fuzz.rs"]
mod fuzz;
mod http;
#[path = "../support/mutate.rs"]
mod mutate;
mod noise;
mod peer;
mod request;
mod seen;
#[path = "../support/mod.rs"]
mod support;
mod tether;
#[path = "../tether/support.rs"]
#[allow(dead_code, reason = "the tests of tether use the rest")]
mod tethers;
