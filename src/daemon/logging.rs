//! Logging: to the journal where standard error goes there, else as text.

use std::io::IsTerminal as _;

use anyhow::Context as _;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Registry, filter::Targets, fmt};

use crate::config::{Log, LogFormat};

/// Starts logging.
///
/// # Errors
/// The filter can't be read, or the journal was asked for and is not there.
pub(super) fn init(log: &Log) -> anyhow::Result<()> {
    let filter: Targets = log.level.parse().with_context(|| format!("log.level: `{}` is no filter", log.level))?;
    let journal = match log.format {
        LogFormat::Text => None,
        LogFormat::Journald => Some(tracing_journald::layer().context("log.format: there is no journal here")?),
        LogFormat::Auto => to_journal().then(tracing_journald::layer).and_then(Result::ok),
    };
    let registry = Registry::default().with(filter);
    match journal {
        Some(journal) => registry.with(journal).init(),
        None => {
            let ansi = std::io::stderr().is_terminal();
            registry.with(fmt::layer().with_writer(std::io::stderr).with_ansi(ansi).with_target(false)).init();
        }
    }
    Ok(())
}

/// Whether standard error is the journal's stream: systemd names its device and inode.
fn to_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    rustix::fs::fstat(std::io::stderr()).is_ok_and(|stat| stream == format!("{}:{}", stat.st_dev, stat.st_ino))
}
