//! The keys of a connection's owner.

use tw_trace_common::event::Owner;

use super::CgroupNames;
use super::fmt::{self, push_str};
use super::json::push_known;

/// `pid`, `comm` and `cgroup` of the last owner: events come in runs of one.
#[derive(Default)]
pub(super) struct OwnerKeys {
    of: Owner,
    text: Vec<u8>,
}

impl OwnerKeys {
    pub(super) fn push(&mut self, line: &mut Vec<u8>, owner: &Owner, cgroups: &mut impl CgroupNames) {
        if self.text.is_empty() || self.of != *owner {
            self.of = *owner;
            self.text.clear();
            push_str(&mut self.text, ",\"pid\":");
            push_known(&mut self.text, owner.pid.into(), 0);
            push_str(&mut self.text, ",\"comm\":");
            match fmt::comm_bytes(&owner.comm) {
                [] => push_str(&mut self.text, "null"),
                comm => fmt::push_json(&mut self.text, comm),
            }
            push_str(&mut self.text, ",\"cgroup\":");
            match (owner.cgroup, if owner.cgroup == 0 { None } else { cgroups.path(owner.cgroup) }) {
                (_, Some(path)) => fmt::push_json(&mut self.text, path.as_bytes()),
                (0, None) => push_str(&mut self.text, "null"),
                (id, None) => {
                    push_str(&mut self.text, "null,\"cgroup_id\":");
                    fmt::push_u64(&mut self.text, id);
                    line.extend_from_slice(&self.text);
                    // The path may be found until the next time.
                    self.text.clear();
                    return;
                }
            }
        }
        line.extend_from_slice(&self.text);
    }
}
