//! Faults at random and at chosen moments, and after each the books: what was accepted, delivered, written and seen has
//! to agree. `make faults ROUNDS=200 SEED=1` is the long run; without `ROUNDS` it is the short one of the tests.

mod agents;
mod api;
mod books;
mod clock;
mod containers;
mod daemon;
mod damage;
mod disk;
mod driven;
mod engine;
mod fixture;
mod floods;
mod fuse;
mod inside;
mod ledger;
mod limits;
mod loop_disk;
mod memory;
mod mounts;
mod namespace;
mod network;
mod plan;
mod power;
mod private;
mod reader;
#[path = "../store_common/mod.rs"]
mod store_common;
mod stores;
#[path = "../support/mod.rs"]
mod support;
mod upgrade;
mod world;

use std::{future::Future, pin::Pin, process::ExitCode, time::Instant};

use ledger::Ledger;
use plan::Plan;

type Part = for<'a> fn(&'a Plan, &'a mut Ledger) -> Pin<Box<dyn Future<Output = Result<(), String>> + 'a>>;

/// The parts: name, faults in the short run, of a hundred rounds in the long one. What is timed comes first.
const PARTS: [(&str, u64, u64, Part); 12] = [
    ("floods", 1, 100, |plan, ledger| Box::pin(floods::run(plan, ledger))),
    ("daemon", 20, 125, |plan, ledger| Box::pin(daemon::run(plan, ledger))),
    ("inside", 8, 25, |plan, ledger| Box::pin(inside::run(plan, ledger))),
    ("containers", 6, 30, |plan, ledger| Box::pin(containers::run(plan, ledger))),
    ("engine", 4, 40, |plan, ledger| Box::pin(engine::run(plan, ledger))),
    ("power", 6, 50, |plan, ledger| Box::pin(power::run(plan, ledger))),
    ("stores", 8, 50, |plan, ledger| Box::pin(stores::run(plan, ledger))),
    ("network", 4, 10, |plan, ledger| Box::pin(network::run(plan, ledger))),
    ("clock", 6, 10, |plan, ledger| Box::pin(clock::run(plan, ledger))),
    ("upgrade", 3, 5, |plan, ledger| Box::pin(upgrade::run(plan, ledger))),
    ("limits", 6, 6, |plan, ledger| Box::pin(limits::run(plan, ledger))),
    ("agents", 2, 12, |plan, ledger| Box::pin(agents::run(plan, ledger))),
];

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

fn main() -> ExitCode {
    store_common::writing::child();
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    if std::env::args().any(|arg| arg == "--list") {
        for (name, ..) in PARTS {
            println!("{name}: test");
        }
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    if std::env::args().any(|arg| arg == "--write-store-fixture") {
        return match runtime.block_on(fixture::write()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(why) => {
                eprintln!("{why}");
                ExitCode::FAILURE
            }
        };
    }
    let rounds = number("ROUNDS");
    let seed = number("SEED").unwrap_or_else(|| if rounds.is_some() { fastrand::u64(..1 << 32) } else { 1 });
    let mut ledger = Ledger::default();
    let mut broken = Vec::new();
    for (name, short, share, part) in PARTS {
        if !wanted.is_empty() && !wanted.iter().any(|wanted| name.contains(wanted.as_str())) {
            continue;
        }
        let plan = Plan {
            seed,
            rounds: rounds.map_or(short, |rounds| (rounds * share / 100).max(1)),
            burst: if rounds.is_some() { 400 } else { 60 },
        };
        println!("== {name}: {} faults, SEED={seed}", plan.rounds);
        let begun = Instant::now();
        if let Err(why) = runtime.block_on(part(&plan, &mut ledger)) {
            broken.push(format!("{name}: {why}"));
        }
        println!("== {name}: done in {} s, {} violations so far", begun.elapsed().as_secs(), ledger.violations());
    }
    if wanted.is_empty()
        || !broken.is_empty()
        || PARTS.iter().any(|(name, ..)| wanted.iter().any(|w| name.contains(w.as_str())))
    {
        println!("\nSEED={seed} ROUNDS={}", rounds.map_or_else(|| "(short)".to_owned(), |rounds| rounds.to_string()));
        ledger.print();
    }
    for why in &broken {
        println!("broken off: {why}");
    }
    if ledger.violations() == 0 && broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
