//! `make bench`: what wharf does beside what the machine could do, measured in one run, as ratios.
//!
//! The real daemon in a directory on a disk, the real engine, the demo agent; all traffic on loopback and Unix sockets.
//! `--quick` measures less of each; other words choose parts: `starts`, `turns`, `fanout`, `memory`, `store`.
//! A missed target is told and is no failure; what could not be measured is.

mod bare;
mod fanout;
mod memory;
mod report;
mod starts;
mod store;
#[path = "../tests/support/mod.rs"]
mod support;
mod target;
mod turns;
mod twin;
mod wire;

use std::{path::Path, time::Duration};

use report::{Report, Row, Stat, Unit};
use support::Daemon;

/// Where the state lies: on a disk, which a temporary directory need not be.
const DIR: &str = "/var/tmp";

/// How much of each is measured.
struct Effort {
    starts: usize,
    prompts: usize,
    burst: u64,
    rounds: usize,
    clients: usize,
    fan_burst: u64,
    stalled: usize,
    sessions: usize,
    commits: usize,
    writing: Duration,
}

const FULL: Effort = Effort {
    starts: 25,
    prompts: 200,
    burst: 50_000,
    rounds: 7,
    clients: 1000,
    fan_burst: 2000,
    stalled: 100,
    sessions: 100,
    commits: 200,
    writing: Duration::from_secs(3),
};

const QUICK: Effort = Effort {
    starts: 5,
    prompts: 40,
    burst: 10_000,
    rounds: 3,
    clients: 200,
    fan_burst: 1000,
    stalled: 100,
    sessions: 20,
    commits: 50,
    writing: Duration::from_millis(500),
};

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let effort = if words.iter().any(|word| word == "--quick") { QUICK } else { FULL };
    let parts: Vec<&str> = words.iter().map(String::as_str).filter(|word| !word.starts_with("--")).collect();
    tempfile::env::override_temp_dir(Path::new(DIR)).expect("nothing asked for a temporary directory before");
    files();
    let mut report = Report::default();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(sessions(&mut report, &effort, &parts));
    if wanted(&parts, "store") {
        durable(&mut report, &effort);
    }
    let (targets, hold) = report.targets();
    println!("{}\nmedian (5th–95th percentile); {hold} of {targets} targets hold", report.table());
}

fn wanted(parts: &[&str], part: &str) -> bool {
    parts.is_empty() || parts.contains(&part)
}

/// A thousand connections are two thousand files in this process.
fn files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let now = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: now.maximum, ..now }).expect("as many files as may be");
}

/// The image with the demo agent: `WHARF_BENCH_IMAGE`, else the one that the daemon would take.
fn image() -> String {
    std::env::var("WHARF_BENCH_IMAGE").unwrap_or_else(|_| "wharf/demo:latest".to_owned())
}

/// A daemon in a directory of its own.
async fn daemon() -> Daemon {
    // A thousand clients that come at once over one address are what is measured here, not what is refused.
    let config = format!("[rate]\nrequests = 0\n[agents.demo]\nimage = \"{}\"\n", image());
    Daemon::start_with(&[], Some(&config)).await
}

/// Everything that needs a daemon.
async fn sessions(report: &mut Report, effort: &Effort, parts: &[&str]) {
    if wanted(parts, "memory") {
        eprintln!("the daemon at rest");
        memory::measure(report, effort.sessions).await;
    }
    if !["starts", "turns", "fanout"].iter().any(|part| wanted(parts, part)) {
        return;
    }
    let scratch = tempfile::tempdir().expect("a directory");
    let program = bare::Program::new(scratch.path()).expect("the demo agent");
    let daemon = daemon().await;
    if wanted(parts, "starts") {
        eprintln!("starts");
        starts::measure(report, &daemon, &program, scratch.path(), effort.starts).await;
    }
    if wanted(parts, "turns") {
        eprintln!("turns");
        let target = target::Target::new(&daemon, "bench:turns").await;
        turns::latency(report, &target, &program, effort.prompts).await;
        turns::throughput(report, &target, &program, scratch.path(), effort.burst, effort.rounds).await;
    }
    if wanted(parts, "fanout") {
        eprintln!("fan-out");
        let target = target::Target::new(&daemon, "bench:fanout").await;
        fanout::measure(report, &target, effort.clients, effort.fan_burst, effort.rounds).await;
        fanout::stalled(report, &target, effort.stalled, effort.burst).await;
    }
}

/// The store alone.
fn durable(report: &mut Report, effort: &Effort) {
    eprintln!("the store");
    let dir = tempfile::tempdir().expect("a directory");
    let figures = store::measure(dir.path(), 64, 300, effort.writing, effort.commits).expect("a disk");
    let one = |value: f64| Stat::of([value]);
    report.add(
        Row::new("store: durable records of 64 writers", Unit::PerSecond("commits/s"), one(figures.grouped))
            .beside("plain file + fdatasync, grouped", one(figures.grouped_raw)),
    );
    report.add(
        Row::new("store: one durable commit", Unit::Ms, figures.single)
            .beside("plain file: write + fdatasync", figures.single_raw),
    );
}
