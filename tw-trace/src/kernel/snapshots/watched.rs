//! One namespace's readings, and what they say to the audit. Pure.

use crate::{
    audit::{End, Namespace, Snapshot, Start},
    kernel::netns::Unlooked,
};

/// A namespace and the readings taken of it so far.
pub(super) struct Watched {
    pub(super) inode: u32,
    pub(super) first_seen: FirstSeen,
    /// Right before attaching, and right after it and after seeding.
    pub(super) start: [Option<Reading>; 2],
    /// Right before detaching, and right after it.
    pub(super) end: [Option<Reading>; 2],
}

/// When a namespace was first seen.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum FirstSeen {
    Before,
    /// While the programs were being attached: what it had counted by then is not known.
    Meanwhile,
    After,
}

/// With the reason why there is none, in words that are the same for every namespace.
pub(super) type Reading = Result<Snapshot, String>;

impl Watched {
    /// `unlooked`: what was not looked at at the start, and at the end.
    pub(super) fn namespace(self, id: u64, [at_start, unlooked]: [&Unlooked; 2]) -> Namespace {
        let start = match (self.first_seen, self.start) {
            (FirstSeen::After, _) if at_start.is_nothing() => Ok(Start::Created),
            // Counted from zero, its growth would be that of its whole life.
            (FirstSeen::After, _) => Err("new, or not looked at at the start".to_owned()),
            (FirstSeen::Meanwhile, _) => Err("new while the programs were being attached".to_owned()),
            (FirstSeen::Before, [Some(Ok(before)), Some(Ok(after))]) => Ok(Start::Read { before, after }),
            (FirstSeen::Before, [Some(Err(why)), _] | [_, Some(Err(why))]) => Err(why),
            (FirstSeen::Before, [None, _] | [_, None]) => Err("not found at the start any more".to_owned()),
        };
        let end = match self.end {
            [Some(Ok(before)), Some(Ok(after))] => End::Read { before, after },
            [Some(Err(why)), _] | [_, Some(Err(why))] => End::Unreadable(why),
            [None, _] | [_, None] if unlooked.is_nothing() => End::Gone,
            [None, _] | [_, None] => End::Unreadable(unlooked.unfound()),
        };
        let (start, end) = match (start, end) {
            (Err(why), End::Read { .. }) => (Start::Created, End::Unreadable(why)),
            (start, end) => (start.unwrap_or(Start::Created), end),
        };
        Namespace { id, inode: self.inode, start, end }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOO_MANY: &str = "there are too many";

    fn watched(first_seen: FirstSeen, start: [Option<Reading>; 2], end: [Option<Reading>; 2]) -> Watched {
        Watched { inode: 7, first_seen, start, end }
    }

    fn read() -> [Option<Reading>; 2] {
        [Some(Ok(Snapshot::default())), Some(Ok(Snapshot::default()))]
    }

    fn end(watched: Watched, unlooked: &Unlooked) -> End {
        watched.namespace(7, [&Unlooked::default(), unlooked]).end
    }

    #[test]
    fn what_is_first_seen_at_the_end_is_new_only_if_all_was_looked_at_before() {
        let first_seen = || watched(FirstSeen::After, [None, None], read());
        let nothing = Unlooked::default();
        assert!(matches!(first_seen().namespace(7, [&nothing, &nothing]).end, End::Read { .. }));
        let late = Unlooked { late: 1, ..Unlooked::default() };
        assert!(matches!(first_seen().namespace(7, [&late, &nothing]).end, End::Unreadable(_)));
    }

    #[test]
    fn what_was_not_found_again_is_gone_only_if_all_was_looked_at() {
        let vanished = || watched(FirstSeen::Before, read(), [None, None]);
        assert_eq!(end(vanished(), &Unlooked::default()), End::Gone);
        let unlooked = Unlooked { refused: 1, ..Unlooked::default() };
        assert_eq!(end(vanished(), &unlooked), End::Unreadable(unlooked.unfound()));
        let halfway = watched(FirstSeen::Before, read(), [Some(Ok(Snapshot::default())), None]);
        assert_eq!(end(halfway, &Unlooked::default()), End::Gone);
    }

    #[test]
    fn what_was_not_read_is_neither_gone_nor_new() {
        let late = || [Some(Err(TOO_MANY.to_owned())), None];
        for case in [watched(FirstSeen::Before, read(), late()), watched(FirstSeen::Before, late(), read())] {
            assert_eq!(end(case, &Unlooked::default()), End::Unreadable(TOO_MANY.to_owned()));
        }
        // Counted from zero, its growth would be that of its whole life.
        let unread = watched(FirstSeen::Before, [None, None], read());
        assert!(matches!(end(unread, &Unlooked::default()), End::Unreadable(_)));
        let meanwhile = watched(FirstSeen::Meanwhile, read(), read());
        assert!(matches!(end(meanwhile, &Unlooked::default()), End::Unreadable(_)));
    }

    #[test]
    fn a_namespace_that_came_later_began_at_zero() {
        let namespace = watched(FirstSeen::After, [None, None], read());
        let namespace = namespace.namespace(7, [&Unlooked::default(), &Unlooked::default()]);
        assert_eq!(namespace.start, Start::Created);
        assert!(matches!(namespace.end, End::Read { .. }));
    }
}
