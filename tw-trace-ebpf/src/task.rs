//! The only reader of tasks: the current one as the process that owns a connection.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::bpf_pidns_info,
    helpers::{
        bpf_get_current_pid_tgid,
        generated::{
            bpf_get_current_cgroup_id, bpf_get_current_task, bpf_get_ns_current_pid_tgid,
            bpf_probe_read_kernel as bpf_probe_read_kernel_raw,
        },
    },
};
use tw_trace_common::event::Owner;

use crate::{
    globals::{self, offset},
    maps::{CGROUPS_SEEN, CPU},
    memory::{Memory, Probed},
};

/// The current `struct task_struct`.
#[inline(always)]
pub(crate) fn current() -> u64 {
    // SAFETY: takes no arguments.
    unsafe { bpf_get_current_task() }
}

/// `task->flags & PF_KTHREAD` (include/linux/sched.h, 5.10 – 7.3). Threads of io_uring belong to a process and are none.
#[inline(always)]
pub(crate) fn is_kernel_thread(task: u64) -> bool {
    const PF_KTHREAD: u32 = 0x0020_0000;
    Probed::read::<u32>(task, offset!(task_flags)) & PF_KTHREAD != 0
}

/// The current task's process as an owner, by the name of its first thread: others may have names of their own. True
/// only where the caller runs in the context of the process it asks about.
#[inline(always)]
pub(crate) fn read_current(task: u64, owner: &mut Owner) {
    // SAFETY: takes no arguments.
    owner.cgroup = unsafe { bpf_get_current_cgroup_id() };
    announce(owner.cgroup);
    owner.pid = process();
    owner.spare = 0;
    let leader: u64 = Probed::read(task, offset!(task_group_leader));
    let name = (leader + offset!(task_comm) as u64) as *const c_void;
    // SAFETY: the buffer is as long as told, and zeroed where the helper fails.
    unsafe { bpf_probe_read_kernel_raw(owner.comm.as_mut_ptr().cast(), owner.comm.len() as u32, name) };
}

/// Lets user space look up the cgroup's path while there is one.
#[inline(always)]
fn announce(cgroup: u64) {
    if !globals::owners() {
        return;
    }
    let Some(cpu) = CPU.get_ptr_mut(0) else { return };
    // SAFETY: this CPU's value; a program that interrupts this one at worst enters an id once more.
    unsafe {
        if (*cpu).cgroup == cgroup {
            return;
        }
        (*cpu).cgroup = cgroup;
    }
    let _ = CGROUPS_SEEN.insert(cgroup, 0, 0);
}

/// The id of the current task's process: that of the pid namespace that is asked for, zero if the process is not in
/// it. `bpf_get_ns_current_pid_tgid` (kernel/bpf/helpers.c, 5.7 – 7.3) knows a task by the innermost of its namespaces.
#[inline(always)]
fn process() -> u32 {
    let Some((dev, inode)) = globals::pid_namespace() else {
        return (bpf_get_current_pid_tgid() >> 32) as u32;
    };
    let mut ids = bpf_pidns_info { pid: 0, tgid: 0 };
    // SAFETY: the buffer is as long as told; the helper zeroes it where it fails.
    unsafe { bpf_get_ns_current_pid_tgid(dev, inode, &raw mut ids, size_of::<bpf_pidns_info>() as u32) };
    ids.tgid
}
