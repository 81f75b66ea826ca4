//! Logging: to the journal where standard error goes there, else as text.

use std::io::IsTerminal as _;

use anyhow::Context as _;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Registry, fmt};

use crate::config::{Log, LogFormat};

/// Starts logging.
///
/// # Errors
/// The filter can't be read, or the journal was asked for and is not there.
pub(super) fn init(log: &Log) -> anyhow::Result<()> {
    let filter = filter(&log.level)
        .with_context(|| format!("log.level: `{}` is not like `info` or `wharf=debug,warn`", log.level))?;
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

/// Levels, each for all or for a `target=`; what the library would take for one that shows nothing is refused.
fn filter(text: &str) -> anyhow::Result<Targets> {
    for directive in text.split(',') {
        let (target, level) = directive.trim().rsplit_once('=').unwrap_or(("all", directive.trim()));
        anyhow::ensure!(!target.is_empty() && !level.is_empty(), "`{directive}` lacks a part");
        level.parse::<LevelFilter>()?;
    }
    Ok(text.parse()?)
}

/// Whether standard error is the journal's stream: systemd names its device and inode.
fn to_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    rustix::fs::fstat(std::io::stderr()).is_ok_and(|stat| stream == format!("{}:{}", stat.st_dev, stat.st_ino))
}
