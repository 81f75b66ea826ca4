//! tether: holds the agent processes of a workspace and their output.

fn main() {}
