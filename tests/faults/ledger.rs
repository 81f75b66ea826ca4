//! What was done and checked: a line for each guarantee, and every violation with the seed that shows it again.

use std::collections::BTreeMap;

/// The guarantees, by number from 1.
const GUARANTEES: [&str; 12] = [
    "accepted means durable",
    "at most one delivery",
    "a turn survives the daemon",
    "nothing seen is unseen",
    "gapless subscription",
    "stopping is proven",
    "restore by any id",
    "pending approvals survive",
    "idle costs only disk",
    "a broken store is never overwritten",
    "no leaks",
    "no secrets",
];

/// What one guarantee was put to.
#[derive(Clone, Debug, Default)]
struct Line {
    rounds: u64,
    faults: u64,
    prompts: u64,
    events: u64,
    violations: Vec<String>,
}

/// One check of the books: what had happened since the one before it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Checked {
    /// Faults injected.
    pub faults: u64,
    /// Prompts that were accounted for.
    pub prompts: u64,
    /// Events that were compared.
    pub events: u64,
}

impl std::ops::AddAssign for Checked {
    fn add_assign(&mut self, more: Self) {
        self.faults += more.faults;
        self.prompts += more.prompts;
        self.events += more.events;
    }
}

/// The account of a whole run.
#[derive(Debug, Default)]
pub struct Ledger {
    lines: [Line; 12],
    faults: BTreeMap<String, u64>,
    remarks: Vec<String>,
}

impl Ledger {
    /// A fault was injected.
    pub fn fault(&mut self, kind: &str) {
        *self.faults.entry(kind.to_owned()).or_default() += 1;
    }

    /// These guarantees were checked against all that happened.
    pub fn checked(&mut self, guarantees: &[usize], checked: Checked) {
        for number in guarantees {
            let line = &mut self.lines[number - 1];
            line.rounds += 1;
            line.faults += checked.faults;
            line.prompts += checked.prompts;
            line.events += checked.events;
        }
    }

    /// A guarantee did not hold.
    pub fn violated(&mut self, guarantee: usize, what: impl Into<String>) {
        let what = what.into();
        eprintln!("VIOLATION of {guarantee} ({}): {what}", GUARANTEES[guarantee - 1]);
        self.lines[guarantee - 1].violations.push(what);
    }

    /// A figure worth telling.
    pub fn remark(&mut self, text: impl Into<String>) {
        let text = text.into();
        println!("   {text}");
        self.remarks.push(text);
    }

    /// How many violations there are.
    pub fn violations(&self) -> usize {
        self.lines.iter().map(|line| line.violations.len()).sum()
    }

    /// Prints the table; with the kinds of faults under it.
    pub fn print(&self) {
        let row = |cells: [&str; 6]| {
            println!(
                "| {:<39} | {:>6} | {:>6} | {:>7} | {:>8} | {:>10} |",
                cells[0], cells[1], cells[2], cells[3], cells[4], cells[5]
            );
        };
        row(["guarantee", "checks", "faults", "prompts", "events", "violations"]);
        println!(
            "|{}|{}:|{}:|{}:|{}:|{}:|",
            "-".repeat(41),
            "-".repeat(7),
            "-".repeat(7),
            "-".repeat(8),
            "-".repeat(9),
            "-".repeat(11)
        );
        for (number, line) in self.lines.iter().enumerate() {
            let name = format!("{}. {}", number + 1, GUARANTEES[number]);
            let counts = [line.rounds, line.faults, line.prompts, line.events].map(|n| n.to_string());
            let violations = line.violations.len().to_string();
            row([&name, &counts[0], &counts[1], &counts[2], &counts[3], &violations]);
        }
        let kinds: Vec<_> = self.faults.iter().map(|(name, n)| format!("{n} {name}")).collect();
        println!("\nfaults: {}", kinds.join(", "));
        for remark in &self.remarks {
            println!("{remark}");
        }
        for (number, line) in self.lines.iter().enumerate() {
            for violation in &line.violations {
                println!("violated: {}. {}: {violation}", number + 1, GUARANTEES[number]);
            }
        }
    }
}
