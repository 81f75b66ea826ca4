//! What is read of all sessions together: totals, lists, one stream of everything, and how long what is closed stays.

#[path = "../support/mod.rs"]
mod support;
#[path = "../access/ws.rs"]
#[allow(dead_code, reason = "each test program uses a part of it")]
mod ws;

#[path = "../store_common/mod.rs"]
mod store_common;

mod all_events;
mod commands;
mod lists;
mod many;
mod retention;
mod stats;
mod waiting;

/// The store of a daemon that has not started yet, with the key that it would make first.
fn store_of(daemon: &support::Daemon) -> wharf::store::Store {
    std::fs::create_dir_all(daemon.state()).expect("a directory");
    wharf::seal::Sealer::prepare(daemon.state(), false).expect("a key");
    store_common::open(daemon.state())
}
