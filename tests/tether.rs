//! tether, the real program, driven by the real client: nothing is lost, nothing comes twice, nothing is left behind.

#[path = "tether/container.rs"]
mod container;
#[path = "tether/ending.rs"]
mod ending;
#[path = "tether/faults.rs"]
mod faults;
#[path = "tether/input.rs"]
mod input;
#[path = "tether/load.rs"]
mod load;
#[path = "tether/output.rs"]
mod output;
#[path = "tether/protocol.rs"]
mod protocol;
#[path = "tether/start.rs"]
mod start;
#[path = "tether/support.rs"]
mod support;
