//! What each backend needs that this kernel or these privileges lack: the thing, its consequence, the next step.

use super::{FTRACE_DIRECT, Facts};
use crate::kernel::capability::Capability;
use crate::kernel::function_name::{Found, several};
use crate::kernel::plan::{Attach, Backend, Program};
use crate::kernel::sysfs::NOT_MOUNTED;

/// Whether a program can do without its function's prototype.
#[derive(Clone, Copy)]
enum Prototype {
    Needed,
    /// Only held against what is known, where BTF has it.
    Checked,
}

impl Facts {
    /// Why `backend` cannot work here; empty when nothing known speaks against it.
    pub fn missing_for(&self, backend: Backend) -> Vec<String> {
        let mut missing = self.missing_privileges();
        if !self.system.sysfs {
            // Whatever else is missing may be missing for want of it.
            missing.push(NOT_MOUNTED.to_owned());
            return missing;
        }
        missing.extend(self.missing_from_btf());
        missing.extend(self.missing_addresses());
        missing.extend(match backend {
            Backend::Fentry => self.missing_for_fentry(),
            Backend::Kprobe => self.missing_for_kprobe(),
            Backend::Tracepoint => Vec::new(),
        });
        missing.extend(self.refused.backends.get(backend.name()).cloned());
        missing
    }

    /// Why a program cannot be attached here.
    pub fn missing_for_program(&self, program: &Program) -> Result<(), String> {
        if let Some(why) = self.refused.programs.get(program.name) {
            return Err(why.clone());
        }
        match program.attach {
            Attach::TraceEvent(event) if !self.has_trace_event(event) => {
                Err(format!("the kernel has no BTF trace event {event}"))
            }
            Attach::Iterator(target) if !self.has_iterator(target) => {
                Err(format!("the kernel has no BPF iterator over {target} sockets"))
            }
            Attach::TraceEvent(_) | Attach::Iterator(_) => Ok(()),
            Attach::Entry(name) | Attach::Exit(name) => {
                self.missing_symbol(name)?;
                self.missing_prototype(program, name, Prototype::Needed)
            }
            Attach::Probe(name) | Attach::ReturnProbe(name) => {
                self.missing_symbol(name)?;
                self.missing_prototype(program, name, Prototype::Checked)
            }
        }
    }

    /// A function that was inlined or renamed has no symbol of its name; one of several is not guessed.
    fn missing_symbol(&self, name: &str) -> Result<(), String> {
        match self.function(name).symbol {
            Ok(Found::Absent) => Err(format!("{name}() is not in kallsyms (inlined or renamed)")),
            Ok(Found::Several(names)) => Err(several(name, &names)),
            Ok(Found::One(_)) | Err(_) => Ok(()),
        }
    }

    /// Arguments are read by position, so a function that takes others than those known is left alone.
    fn missing_prototype(&self, program: &Program, name: &str, prototype: Prototype) -> Result<(), String> {
        match (self.function(name).params, prototype) {
            (Ok(Some(params)), _) if !program.params.fit(params) => {
                Err(format!("{name}() takes {params} parameters, which is not how tw-trace knows it"))
            }
            (Ok(None), Prototype::Needed) => Err(format!("{name}() is not in BTF (inlined or renamed)")),
            (Ok(_) | Err(_), _) => Ok(()),
        }
    }

    /// Whether tracing programs may ask for a socket's cookie: the helper's own function for them
    /// (`bpf_get_socket_ptr_cookie`, 5.12).
    pub fn has_cookies(&self) -> bool {
        self.btf.as_ref().is_ok_and(|btf| btf.cookies)
    }

    /// Whether BTF programs can be attached to the trace event.
    pub fn has_trace_event(&self, event: &str) -> bool {
        self.btf.as_ref().is_ok_and(|btf| btf.trace_events.get(event).copied().flatten().is_some())
    }

    /// Whether the kernel has a BPF iterator over this kind of object; only `tcp` is asked for.
    pub fn has_iterator(&self, target: &str) -> bool {
        target == "tcp" && self.btf.as_ref().is_ok_and(|btf| btf.iter_tcp)
    }

    fn missing_privileges(&self) -> Vec<String> {
        let mut missing = Vec::new();
        if let Ok(capabilities) = self.system.capabilities {
            if !capabilities.initial_user_ns {
                missing.push(
                    "this process is in a user namespace of its own, where no privilege counts towards BPF: \
                     nothing can be loaded; run on the host, outside the rootless container"
                        .to_owned(),
                );
            } else {
                let names: Vec<_> =
                    capabilities.missing_to_trace().into_iter().map(Capability::name).collect();
                if !names.is_empty() {
                    missing.push(format!(
                        "{} missing: nothing can be loaded; run as root, or grant it with \
                         `setcap cap_bpf,cap_perfmon,cap_syslog+ep FILE`",
                        match names.as_slice() {
                            [one] => format!("{one} is"),
                            all => format!("{} are", all.join(" and ")),
                        }
                    ));
                }
            }
        }
        if self.system.lockdown.as_deref() == Ok("confidentiality") {
            missing.push(
                "kernel lockdown is at confidentiality: programs may not read kernel memory; \
                 boot with lockdown=integrity or less"
                    .to_owned(),
            );
        }
        missing
    }

    fn missing_from_btf(&self) -> Vec<String> {
        match &self.btf {
            Err(untold) => vec![format!("{}: no kernel field can be found", untold.0)],
            Ok(btf) => {
                let mut missing = Vec::new();
                if let Err(field) = &btf.offsets {
                    missing.push(field.to_string());
                }
                if !btf.ring_buffer {
                    missing.push(
                        "the kernel has no BPF ring buffer: records cannot reach tw-trace; it needs Linux 5.8"
                            .to_owned(),
                    );
                }
                missing
            }
        }
    }

    fn missing_for_fentry(&self) -> Vec<String> {
        let mut missing = Vec::new();
        if self.system.function_tracing == Ok(false) {
            missing.push("the kernel refuses function tracing (EPERM): fentry cannot attach".to_owned());
        }
        // BTF of old kernels leaves out what cannot be traced itself; kallsyms does not.
        if self.btf.as_ref().is_ok_and(|btf| !btf.ftrace_direct) && !self.symbol_of_any(FTRACE_DIRECT) {
            missing.push(
                "the kernel has no direct function tracing (CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS; \
                 x86-64, aarch64 from 6.4): fentry cannot attach"
                    .to_owned(),
            );
        }
        missing
    }

    fn missing_for_kprobe(&self) -> Vec<String> {
        if self.system.kprobe_events != Ok(false) {
            return Vec::new();
        }
        vec!["the kernel is built without CONFIG_KPROBE_EVENTS: kprobes cannot attach".to_owned()]
    }

    /// `tw_timer_handler` and the callers that tell reasons are known by their addresses.
    fn missing_addresses(&self) -> Vec<String> {
        match &self.addresses {
            Ok(true) => Vec::new(),
            Ok(false) => vec![
                "/proc/kallsyms hides addresses: time-wait timers cannot be told from others; \
                 grant CAP_SYSLOG, or set kernel.kptr_restrict to 0 or 1"
                    .to_owned(),
            ],
            Err(untold) => vec![format!("{}: time-wait timers cannot be told from others", untold.0)],
        }
    }
}
