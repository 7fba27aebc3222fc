//! The eBPF programs of a process: whether they hang on something, and what the kernel counts of their runs.

use std::collections::BTreeSet;
use std::fs;
use std::mem::zeroed;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use anyhow::{Context as _, Result};
use aya::programs::loaded_programs;
use xtask::fdinfo::{descriptors, field};

/// What the kernel's statistics say of one program.
#[derive(Clone, Debug)]
pub(crate) struct Runs {
    pub(crate) id: u32,
    pub(crate) name: String,
    pub(crate) runs: u64,
    pub(crate) ns: u64,
}

/// What each program did since an earlier reading.
pub(crate) fn since(now: Vec<Runs>, before: &[Runs]) -> Vec<Runs> {
    let less = |program: Runs| match before.iter().find(|earlier| earlier.id == program.id) {
        Some(earlier) => Runs { runs: program.runs - earlier.runs, ns: program.ns - earlier.ns, ..program },
        None => program,
    };
    now.into_iter().map(less).collect()
}

/// Has the kernel count, which takes some 40 ns a run. It ends with this descriptor, whatever happens to us, and leaves
/// the machine's setting alone (Linux 5.8).
pub(crate) fn count() -> Result<OwnedFd> {
    aya::sys::enable_stats(aya::sys::Stats::RunTime).context("the kernel's statistics of programs")
}

/// Runs and ns of all programs together.
pub(crate) fn totals(runs: &[Runs]) -> (u64, u64) {
    runs.iter().fold((0, 0), |(count, ns), program| (count + program.runs, ns + program.ns))
}

/// Whether a program of this process is attached.
pub(crate) fn attached(pid: u32) -> bool {
    descriptors(pid).iter().any(|file| {
        let link = fs::read_to_string(file).is_ok_and(|text| field(&text, "link_type").is_some());
        // Old ways to attach leave a plain perf event, which its fdinfo does not tell from a buffer.
        let number = file.file_name().and_then(|name| name.to_str()?.parse().ok());
        link || number.is_some_and(|number| is_event_with_program(pid, number))
    })
}

/// Its programs with their runs, which the kernel counts only while somebody has statistics on.
pub(crate) fn runs(pid: u32) -> Result<Vec<Runs>> {
    let ids: BTreeSet<u64> = descriptors(pid)
        .iter()
        .filter_map(|file| field(&fs::read_to_string(file).ok()?, "prog_id"))
        .collect();
    let mut runs = Vec::new();
    for program in loaded_programs() {
        // Others come and go meanwhile.
        let Ok(program) = program else { continue };
        if !ids.contains(&u64::from(program.id())) {
            continue;
        }
        let Ok(fd) = program.fd() else { continue };
        let file = format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd());
        let text = fs::read_to_string(&file).with_context(|| format!("reading {file}"))?;
        let figure = |name| field(&text, name).with_context(|| format!("a program's {name}"));
        let name = program.name_as_str().unwrap_or_default().to_owned();
        runs.push(Runs { id: program.id(), name, runs: figure("run_cnt")?, ns: figure("run_time_ns")? });
    }
    Ok(runs)
}

/// The members of `union bpf_attr` for BPF_TASK_FD_QUERY (Linux 4.18).
#[repr(C)]
struct TaskFdQuery {
    pid: u32,
    fd: u32,
    flags: u32,
    buf_len: u32,
    buf: u64,
    prog_id: u32,
    fd_type: u32,
    probe_offset: u64,
    probe_addr: u64,
}

fn is_event_with_program(pid: u32, fd: u32) -> bool {
    const BPF_TASK_FD_QUERY: libc::c_int = 20;
    // SAFETY: plain old data, all zeroes is a valid one.
    let mut query: TaskFdQuery = unsafe { zeroed() };
    (query.pid, query.fd) = (pid, fd);
    // SAFETY: the kernel reads and writes this one struct, of the length that is passed.
    let status =
        unsafe { libc::syscall(libc::SYS_bpf, BPF_TASK_FD_QUERY, &raw mut query, size_of::<TaskFdQuery>()) };
    status == 0 && query.prog_id != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ran_before_does_not_count() {
        let program = |id, runs, ns| Runs { id, name: String::new(), runs, ns };
        let since = since(vec![program(1, 15, 150), program(2, 3, 30)], &[program(1, 10, 60)]);
        assert_eq!(since.iter().map(|now| (now.runs, now.ns)).collect::<Vec<_>>(), [(5, 90), (3, 30)]);
    }

    #[test]
    fn we_have_no_program() {
        assert!(!attached(std::process::id()));
    }
}
