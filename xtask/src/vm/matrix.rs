//! The guests that `cargo xtask test` boots: each kernel line once or more, each backend on an old and a new kernel.
//! The rest is for `cargo xtask vm --all`.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use super::arch::Arch;
use super::backend::Backend;
use super::cache::Folder;
use super::kernels::{self, Freshness};
use super::port::Outcome;
use super::run::{self, Guest, Orders, Report};
use super::{VmArgs, table};
use crate::setup;

const CHOSEN: &[(&str, Backend)] = &[
    ("5.10", Backend::Fentry),
    ("5.10", Backend::Tracepoint),
    ("6.1", Backend::Kprobe),
    ("6.12", Backend::Fentry),
    ("6.18", Backend::Tracepoint),
    ("7", Backend::Kprobe),
];
/// Of one guest.
const LIMIT: Duration = Duration::from_mins(15);

/// What the guests came to, scenario by scenario.
pub(crate) struct Matrix {
    pub(crate) passed: usize,
    pub(crate) failures: Vec<String>,
    pub(crate) skips: Vec<String>,
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
    let mut lines: Vec<&str> = CHOSEN.iter().map(|(line, _)| *line).collect();
    lines.dedup();
    let find = |line: &&str| kernels::find(line).map_err(anyhow::Error::msg);
    let kernels = lines.iter().map(|line| kernels::ensure(find(line)?, Arch::X86_64, Freshness::Cached));
    let kernels = kernels.collect::<Result<Vec<_>>>()?;
    let args = VmArgs::default();
    let guests = args.guests(args.boots(&kernels, folder)?)?;
    let is_chosen = |guest: &Guest| CHOSEN.contains(&(guest.line.as_str(), guest.backend));
    Ok(guests.into_iter().filter(is_chosen).collect())
}

impl Matrix {
    fn of(reports: &[Report]) -> Self {
        let mut matrix =
            Self { passed: 0, failures: Vec::new(), skips: Vec::new(), table: table::text(reports) };
        for report in reports {
            let guest = format!("Linux {}, {}", report.line, report.backend.name());
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
