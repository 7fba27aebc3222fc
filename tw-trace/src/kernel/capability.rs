//! The capabilities of this process, from /proc/self/status.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;

/// Inode of the initial user namespace (`PROC_USER_INIT_INO`, include/linux/proc_ns.h, 3.8 – 7.3).
const INITIAL_USER_NS: u64 = 0xefff_fffd;

/// Capabilities that decide what tw-trace can do, with their bits (include/uapi/linux/capability.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Capability {
    NetAdmin = 12,
    SysAdmin = 21,
    Syslog = 34,
    Perfmon = 38,
    Bpf = 39,
}

impl Capability {
    pub const ALL: &'static [Self] =
        &[Self::Bpf, Self::Perfmon, Self::SysAdmin, Self::Syslog, Self::NetAdmin];

    pub const fn name(self) -> &'static str {
        match self {
            Self::NetAdmin => "CAP_NET_ADMIN",
            Self::SysAdmin => "CAP_SYS_ADMIN",
            Self::Syslog => "CAP_SYSLOG",
            Self::Perfmon => "CAP_PERFMON",
            Self::Bpf => "CAP_BPF",
        }
    }
}

/// What this process may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// `CapEff`.
    pub effective: u64,
    /// In another user namespace (rootless containers) capabilities count for nothing towards BPF.
    pub initial_user_ns: bool,
}

impl Capabilities {
    pub fn read() -> io::Result<Self> {
        let status = fs::read_to_string("/proc/self/status")?;
        let initial_user_ns = match fs::metadata("/proc/self/ns/user") {
            Ok(namespace) => namespace.ino() == INITIAL_USER_NS,
            // A kernel without user namespaces has only the one.
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        let effective = parse_effective(&status)
            .ok_or_else(|| io::Error::other("/proc/self/status has no CapEff line"))?;
        Ok(Self { effective, initial_user_ns })
    }

    pub fn has(self, capability: Capability) -> bool {
        self.initial_user_ns && self.effective >> capability as u8 & 1 == 1
    }

    /// What is missing to load tracing programs: CAP_BPF and CAP_PERFMON (5.8), or CAP_SYS_ADMIN for both.
    pub fn missing_to_trace(self) -> Vec<Capability> {
        if self.has(Capability::SysAdmin) {
            return Vec::new();
        }
        [Capability::Bpf, Capability::Perfmon].into_iter().filter(|wanted| !self.has(*wanted)).collect()
    }
}

fn parse_effective(status: &str) -> Option<u64> {
    let digits = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(digits.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn effective_capabilities_are_parsed() {
        let status = "CapPrm:\t000001ffffffffff\nCapEff:\t000000c000000000\nCapBnd:\t0\n";
        let capabilities =
            Capabilities { effective: parse_effective(status).unwrap(), initial_user_ns: true };
        assert!(capabilities.has(Capability::Bpf) && capabilities.has(Capability::Perfmon));
        assert!(!capabilities.has(Capability::SysAdmin) && !capabilities.has(Capability::Syslog));
        assert_eq!(capabilities.missing_to_trace(), []);
        assert_eq!(parse_effective("CapEff:\tnonsense"), None);
        assert_eq!(parse_effective(""), None);
    }

    #[test]
    fn root_of_a_container_may_not_trace() {
        let capabilities = Capabilities { effective: u64::MAX, initial_user_ns: false };
        assert_eq!(capabilities.missing_to_trace(), [Capability::Bpf, Capability::Perfmon]);
    }

    #[test]
    fn this_process_has_readable_capabilities() {
        assert!(Capabilities::read().is_ok());
    }
}
