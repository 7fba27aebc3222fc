//! The columns that say which connection a record is about and whose.

use tw_trace_common::event::{Conn, Owner};

use super::fmt::{self, Address, Scoped, push_owner, push_str};
use super::kept::Kept;

#[derive(Default)]
pub(super) struct ConnColumns {
    kept: Kept<Columns>,
    laddr: Address,
    raddr: Address,
    /// Of the line that is being written.
    place: usize,
}

#[derive(Default)]
struct Columns {
    ends: Vec<u8>,
    /// How wide they are.
    width: usize,
    owner: Vec<u8>,
}

impl ConnColumns {
    /// CONNECTION, filled up to `width`; returns the columns that were used beyond.
    pub(super) fn push(&mut self, line: &mut Vec<u8>, conn: &Conn, owner: &Owner, width: usize) -> usize {
        let Self { kept, laddr, raddr, place } = self;
        *place = kept.place(conn, owner, |told| {
            told.ends.clear();
            // As ss has it: the interface is that of the socket, so it stands on this side.
            let local = Scoped { family: conn.family, addr: &conn.laddr, ifindex: conn.ifindex };
            let remote = Scoped { family: conn.family, addr: &conn.raddr, ifindex: 0 };
            local.push_endpoint(&mut told.ends, laddr, conn.lport);
            push_str(&mut told.ends, " → ");
            remote.push_endpoint(&mut told.ends, raddr, conn.rport);
            told.width = fmt::columns(&told.ends);
            told.owner.clear();
            push_owner(&mut told.owner, owner);
        });
        let told = kept.at(*place);
        line.extend_from_slice(&told.ends);
        line.resize(line.len() + width.saturating_sub(told.width), b' ');
        told.width.saturating_sub(width)
    }

    /// OWNER of the connection that was pushed last.
    pub(super) fn push_owner(&self, line: &mut Vec<u8>) {
        line.extend_from_slice(&self.kept.at(self.place).owner);
    }
}

#[cfg(test)]
mod tests {
    use tw_trace_common::event::{AF_INET, AF_INET6};

    use super::*;

    #[test]
    fn what_is_kept_is_told_as_what_is_written() {
        let mut kept = ConnColumns::default();
        // Two that share a place, one that changes its port, one that gets an owner, one that is bound to an interface.
        let conn = |cookie, lport| Conn { cookie, lport, family: AF_INET, ..Conn::default() };
        let owner = |pid| Owner { pid, ..Owner::default() };
        let records = [
            (conn(1, 5), owner(0)),
            (conn(17, 5), owner(0)),
            (conn(1, 6), owner(0)),
            (conn(1, 6), owner(7)),
            (Conn { ifindex: 3, ..conn(1, 6) }, owner(7)),
        ];
        for (conn, owner) in records.iter().chain(&records).flat_map(|record| [record, record]) {
            for width in [0, 38] {
                let (mut told, mut written, mut new) = (Vec::new(), Vec::new(), ConnColumns::default());
                let over = kept.push(&mut told, conn, owner, width);
                kept.push_owner(&mut told);
                assert_eq!(over, new.push(&mut written, conn, owner, width));
                new.push_owner(&mut written);
                assert_eq!(told, written);
            }
        }
    }

    #[test]
    fn a_column_is_as_wide_as_it_is_seen() {
        let mut line = Vec::new();
        let conn = Conn { family: AF_INET, ..Conn::default() };
        let over = ConnColumns::default().push(&mut line, &conn, &Owner::default(), 20);
        assert_eq!((String::from_utf8(line).unwrap(), over), ("0.0.0.0:0 → 0.0.0.0:0".to_owned(), 1));
    }

    #[test]
    fn the_interface_stands_at_the_local_end() {
        let told = |conn: Conn| {
            let mut line = Vec::new();
            ConnColumns::default().push(&mut line, &conn, &Owner::default(), 0);
            String::from_utf8(line).unwrap()
        };
        let bound = Conn { ifindex: 3, family: AF_INET, lport: 1, ..Conn::default() };
        assert_eq!(told(bound), "0.0.0.0%3:1 → 0.0.0.0:0");
        assert_eq!(told(Conn { family: AF_INET6, ..bound }), "[::%3]:1 → [::]:0");
    }
}
