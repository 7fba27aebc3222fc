//! Namespaces whose counters were not read: one line for each reason, with the sums.

use std::collections::BTreeMap;

use tw_trace_common::followed::Ledger;

use crate::collector::Gone;

/// Why a namespace's counters cannot be compared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Unreadable {
    Gone,
    /// While the run went on it was looked which are there, and these were not found: perhaps some hide.
    NotFound,
    NotRead,
    /// In words that are the same for every namespace.
    Because(String),
}

/// Namespaces by why they were not read.
#[derive(Debug, Default)]
pub(super) struct Unread(BTreeMap<Unreadable, Sum>);

#[derive(Debug, Default)]
struct Sum {
    namespaces: u64,
    /// Of the first of them.
    inode: u64,
    ledger: Ledger,
}

impl Unread {
    pub(super) fn add(&mut self, why: Unreadable, inode: u64, ledger: &Ledger) {
        let sum = self.0.entry(why).or_insert(Sum { inode, ..Sum::default() });
        sum.namespaces += 1;
        sum.ledger = sum.ledger.plus(ledger);
    }

    pub(super) fn add_gone(&mut self, gone: &Gone) {
        if gone.namespaces > 0 {
            let sum = self.0.entry(Unreadable::NotFound).or_default();
            sum.namespaces += gone.namespaces;
            sum.ledger = sum.ledger.plus(&gone.ledger);
            if sum.inode == 0 {
                sum.inode = gone.ledger.inode;
            }
        }
    }

    /// With the sockets that were not compared.
    pub(super) fn lines(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|(why, sum)| sum.line(why))
    }

    /// Which, and why.
    pub(super) fn reasons(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|(why, sum)| sum.reason(why))
    }
}

impl Sum {
    fn line(&self, why: &Unreadable) -> String {
        let Ledger { entered, exited, .. } = self.ledger;
        let exited: u64 = exited.iter().sum();
        let sockets = format!(
            "{entered} entered and {exited} exited sockets were not compared with the kernel's counters"
        );
        let whose = if self.namespaces == 1 { "its" } else { "their" };
        format!("{}, so {whose} {sockets}", self.reason(why))
    }

    fn reason(&self, why: &Unreadable) -> String {
        match self.namespaces {
            1 => format!("namespace {}: {}", self.inode, why.of_one()),
            many => format!("{many} namespaces (one of them was {}): {}", self.inode, why.of_many()),
        }
    }
}

impl Unreadable {
    fn of_one(&self) -> &str {
        match self {
            Self::Gone => "it is gone and its counters with it",
            Self::NotFound => "not found any more",
            Self::NotRead => "its counters were not read",
            Self::Because(why) => why,
        }
    }

    fn of_many(&self) -> &str {
        match self {
            Self::Gone => "they are gone and their counters with them",
            Self::NotFound => "not found any more",
            Self::NotRead => "their counters were not read",
            Self::Because(why) => why,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_hundred_namespaces_that_are_gone_are_one_line() {
        let mut unread = Unread::default();
        let ledger = |entered| Ledger { entered, exited: [entered - 1, 0, 0, 0, 0, 0, 0, 0], ..Ledger::ZERO };
        unread.add(Unreadable::Because("permission denied".to_owned()), 7, &ledger(5));
        for inode in 100..400 {
            unread.add(Unreadable::Gone, inode, &ledger(2));
        }
        unread.add_gone(&Gone { namespaces: 1000, ledger: ledger(3000) });
        let lines: Vec<String> = unread.lines().collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(
            lines[0],
            "300 namespaces (one of them was 100): they are gone and their counters with them, so their 600 entered and \
             300 exited sockets were not compared with the kernel's counters"
        );
        assert!(
            lines[1].starts_with("1000 namespaces (one of them was 0): not found any more, so their 3000"),
            "{lines:?}"
        );
        assert!(
            lines[2].starts_with("namespace 7: permission denied, so its 5 entered and 4 exited"),
            "{lines:?}"
        );
    }
}
