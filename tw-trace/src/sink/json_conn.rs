//! The keys that say which connection a record is about and whose, kept as text: most records repeat them.

use tw_trace_common::event::{AF_INET, Conn, Owner};

use super::CgroupNames;
use super::fmt::{Address, push_str, push_u64};
use super::json::push_known;
use super::json_owner::OwnerKeys;
use super::kept::Kept;

#[derive(Default)]
pub(super) struct ConnKeys {
    kept: Kept<Vec<u8>>,
    laddr: Address,
    raddr: Address,
    owner: OwnerKeys,
}

impl ConnKeys {
    pub(super) fn push(
        &mut self,
        line: &mut Vec<u8>,
        conn: &Conn,
        owner: &Owner,
        cgroups: &mut impl CgroupNames,
    ) {
        let Self { kept, laddr, raddr, owner: owner_keys } = self;
        let place = kept.place(conn, owner, |text| {
            text.clear();
            push_str(text, ",\"cookie\":");
            push_known(text, conn.cookie, 0);
            push_str(text, ",\"netns\":");
            push_u64(text, conn.netns.into());
            if conn.ifindex != 0 {
                push_str(text, ",\"ifindex\":");
                push_u64(text, conn.ifindex.into());
            }
            push_str(
                text,
                if conn.family == AF_INET { ",\"family\":\"ipv4\"" } else { ",\"family\":\"ipv6\"" },
            );
            push_str(text, ",\"laddr\":\"");
            laddr.push(text, conn.family, &conn.laddr);
            push_str(text, "\",\"lport\":");
            push_u64(text, conn.lport.into());
            push_str(text, ",\"raddr\":\"");
            raddr.push(text, conn.family, &conn.raddr);
            push_str(text, "\",\"rport\":");
            push_u64(text, conn.rport.into());
            owner_keys.push(text, owner, cgroups);
        });
        line.extend_from_slice(kept.at(place));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Knows a path for each.
    struct Paths(String);

    impl CgroupNames for Paths {
        fn path(&mut self, id: u64) -> Option<&str> {
            self.0 = format!("/{id}");
            Some(&self.0)
        }
    }

    #[test]
    fn what_is_kept_is_told_as_what_is_written() {
        let mut kept = ConnKeys::default();
        // Two that share a place, one that changes its port, one that gets an owner, one that is bound to an interface.
        let conn = |cookie, lport| Conn { cookie, lport, netns: 1, family: AF_INET, ..Conn::default() };
        let owner = |pid| Owner { pid, cgroup: pid.into(), ..Owner::default() };
        let records = [
            (conn(1, 5), owner(0)),
            (conn(17, 5), owner(0)),
            (conn(1, 6), owner(0)),
            (conn(1, 6), owner(7)),
            (Conn { ifindex: 3, ..conn(1, 6) }, owner(7)),
        ];
        for (conn, owner) in records.iter().chain(&records).flat_map(|record| [record, record]) {
            let (mut told, mut written) = (Vec::new(), Vec::new());
            kept.push(&mut told, conn, owner, &mut Paths(String::new()));
            ConnKeys::default().push(&mut written, conn, owner, &mut Paths(String::new()));
            assert_eq!(told, written);
        }
    }

    #[test]
    fn only_what_is_bound_to_an_interface_has_one() {
        let written = |conn: Conn| {
            let mut text = Vec::new();
            ConnKeys::default().push(&mut text, &conn, &Owner::default(), &mut Paths(String::new()));
            String::from_utf8(text).unwrap()
        };
        let free = Conn { family: AF_INET, netns: 1, ..Conn::default() };
        assert!(written(Conn { ifindex: u32::MAX, ..free }).contains(r#""netns":1,"ifindex":4294967295,"#));
        assert!(written(free).contains(r#""netns":1,"family""#));
    }
}
