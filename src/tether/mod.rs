//! tether: the program inside the container that holds agent processes and their output, and the daemon's end of it.

#[cfg(feature = "daemon")]
pub mod client;
pub mod frames;
#[cfg(any(feature = "inside", test))]
pub mod inside;
pub mod messages;
#[cfg(any(feature = "inside", test))]
mod serve;
