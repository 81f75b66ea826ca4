//! The composition root: starts the rooms in order and stops them in the reverse one.

use crate::config::Config;

/// Runs the daemon until it is told to stop.
///
/// # Errors
/// What keeps it from starting.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let missing = anyhow::anyhow!("{}: the daemon is composed elsewhere", config.state_dir.display());
    std::future::ready(Err(missing)).await
}
