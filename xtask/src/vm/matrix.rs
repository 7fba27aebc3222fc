//! The guests that `cargo xtask test` boots: each kernel line under each backend, on x86-64. What emulates another
//! architecture is for `cargo xtask vm --all`.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use super::arch::Arch;
use super::cache::Folder;
use super::kernels::{self, Freshness};
use super::port::Outcome;
use super::run::{self, Guest, Orders, Report};
use super::{VmArgs, table};
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
    let guests = guests(&folder.path)?;
    let orders = Orders { only: &[], limit: LIMIT, at_a_time: run::cpus() };
    Ok(Matrix::of(&run::all(&guests, &orders)))
}

fn guests(folder: &Path) -> Result<Vec<Guest>> {
    let kernels = kernels::LINES.iter().map(|line| kernels::ensure(line, Arch::X86_64, Freshness::Cached));
    let kernels = kernels.collect::<Result<Vec<_>>>()?;
    let args = VmArgs::default();
    args.guests(args.boots(&kernels, folder)?)
}

impl Matrix {
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
