//! The guests that `cargo xtask test` boots: each kernel line under each backend, and once more for the checks, on
//! x86-64. What emulates another architecture is for `cargo xtask vm --all`.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use super::arch::Arch;
use super::cache::Folder;
use super::kernels::{self, Freshness};
use super::port::Outcome;
use super::qemu::Boot;
use super::run::{self, Orders, Report};
use super::{VmArgs, checks, table};
use crate::setup;

/// Of one guest.
const LIMIT: Duration = Duration::from_mins(15);

/// What the guests came to, scenario by scenario.
pub(crate) struct Matrix {
    pub(crate) passed: usize,
    pub(crate) failures: Vec<String>,
    pub(crate) skips: Vec<String>,
    /// Guests that were booted more than once, and why.
    pub(crate) repeats: Vec<String>,
    /// For people.
    pub(crate) table: String,
}

/// Boots the chosen guests and runs all scenarios in them. An error means that none could be booted here.
pub(crate) fn run() -> Result<Matrix> {
    setup::for_vm(Arch::X86_64.qemu())?;
    let folder = Folder::temporary()?;
    let boots = boots(&folder.path)?;
    let scenarios = VmArgs::default().guests(boots.clone())?;
    let orders = Orders { only: &[], limit: LIMIT, at_a_time: run::cpus() };
    let mut matrix = Matrix::of(&run::all(&scenarios, &orders));
    let orders = Orders { at_a_time: checks::at_a_time(), ..orders };
    matrix.add(Matrix::of(&run::all(&checks::guests(boots), &orders)));
    Ok(matrix)
}

fn boots(folder: &Path) -> Result<Vec<(String, Boot)>> {
    let kernels = kernels::LINES.iter().map(|line| kernels::ensure(line, Arch::X86_64, Freshness::Cached));
    let kernels = kernels.collect::<Result<Vec<_>>>()?;
    VmArgs::default().boots(&kernels, folder)
}

impl Matrix {
    fn add(&mut self, other: Self) {
        let Self { passed, failures, skips, repeats, table } = other;
        self.passed += passed;
        self.failures.extend(failures);
        self.skips.extend(skips);
        self.repeats.extend(repeats);
        self.table = format!("{}\n{table}", self.table);
    }

    fn of(reports: &[Report]) -> Self {
        let mut matrix = Self {
            passed: 0,
            failures: Vec::new(),
            skips: Vec::new(),
            repeats: Vec::new(),
            table: table::text(reports),
        };
        for report in reports {
            let guest = format!("Linux {}, {}", report.line, report.backend.name());
            matrix.repeats.extend(report.repeated.iter().map(|why| format!("the guest {guest}: {why}")));
            for verdict in &report.verdicts {
                match verdict.outcome {
                    Outcome::Pass | Outcome::Difference => matrix.passed += 1,
                    Outcome::Fail => matrix.failures.push(format!("{} ({guest})", verdict.scenario)),
                    Outcome::Skipped => {
                        let why = verdict.why.as_deref().unwrap_or("no reason given");
                        matrix.skips.push(format!("{} ({guest}): {why}", verdict.scenario));
                    }
                }
            }
            matrix
                .failures
                .extend(report.broken.iter().map(|_| format!("the guest itself ({guest}): see above")));
            matrix.failures.extend(
                report.complaints.iter().map(|complaint| format!("its kernel ({guest}): {complaint}")),
            );
        }
        matrix
    }
}
