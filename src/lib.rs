//! wharf gives every coding-agent session its own workspace container and never loses it.
#![warn(unreachable_pub)]
#![cfg_attr(feature = "daemon", forbid(unsafe_code))]

#[cfg(feature = "daemon")]
pub mod agent;
#[cfg(feature = "daemon")]
pub mod api;
#[cfg(feature = "daemon")]
pub mod cli;
#[cfg(feature = "daemon")]
pub mod config;
#[cfg(feature = "daemon")]
pub mod crash;
#[cfg(feature = "daemon")]
pub mod daemon;
#[cfg(any(feature = "inside", test))]
pub mod demo;
#[cfg(feature = "daemon")]
pub mod domain;
#[cfg(feature = "daemon")]
pub mod embedded;
#[cfg(feature = "daemon")]
pub mod engine;
#[cfg(feature = "daemon")]
pub mod seal;
#[cfg(feature = "daemon")]
pub mod session;
#[cfg(feature = "daemon")]
pub mod store;
#[cfg(feature = "daemon")]
pub mod terminal;
pub mod tether;
#[cfg(feature = "daemon")]
pub mod workspace;

#[cfg(all(test, feature = "daemon"))]
#[path = "../tests/support/fuzz.rs"]
mod fuzz;
#[cfg(all(test, feature = "daemon"))]
#[path = "../tests/support/mutate.rs"]
mod mutate;
