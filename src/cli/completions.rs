//! `wharf completions`: what a shell needs to complete this command line.

use std::process::ExitCode;

use clap::Args;
use clap_complete::Shell;

use super::ui::Ui;
use super::{Outcome, help};

/// Print completions for a shell
///
/// For bash: `wharf completions bash > ~/.local/share/bash-completion/completions/wharf`.
#[derive(Args, Debug)]
pub(super) struct Completions {
    /// Which
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self, ui: &Ui) -> Outcome {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut help::command(), "wharf", &mut script);
        ui.write(&String::from_utf8_lossy(&script))?;
        Ok(ExitCode::SUCCESS)
    }
}
