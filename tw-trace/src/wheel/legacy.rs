//! The death row that timed TIME_WAIT up to Linux 4.0: eight slow slots, 32 short ones, one hand each.
//!
//! Follows net/ipv4/inet_timewait_sock.c (read in 2.6.32 – 4.0): `inet_twsk_schedule`, `inet_twdr_hangman`,
//! `inet_twdr_twkill_work`, `inet_twdr_twcal_tick`. What it leaves out: the slack of the kernel's timers (from 2.6.35
//! on, a tick may come up to 1/256 of its period late) and the time that the work item takes.

/// `INET_TWDR_TWKILL_SLOTS`
pub const SLOTS: usize = 8;
/// `INET_TWDR_TWKILL_QUOTA`: a tick looks whether it has killed more than this.
const QUOTA: u64 = 100;
/// `INET_TWDR_RECYCLE_SLOTS`, and its logarithm.
const RECYCLE_SLOTS: usize = 1 << RECYCLE_SLOTS_LOG;
const RECYCLE_SLOTS_LOG: u32 = 5;
/// `TCP_TIMEWAIT_LEN` in seconds.
const TIMEWAIT_SECONDS: u64 = 60;

/// What a kernel of this HZ makes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Jiffies between two ticks of the slow row.
    pub period: u64,
    /// `TCP_TIMEWAIT_LEN` in jiffies.
    pub timewait_len: u64,
    /// `INET_TWDR_RECYCLE_TICK`: a short slot is 2 to the power of this many jiffies wide.
    pub recycle_tick: u32,
}

/// Where a timeout goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// So many slow slots ahead of the hand.
    Slow(usize),
    /// So many short slots ahead of the other hand.
    Recycle(usize),
}

impl Shape {
    pub fn new(hz: u32) -> Self {
        let timewait_len = TIMEWAIT_SECONDS * u64::from(hz);
        // HZ <= 32: 5 + 2 - 5, HZ <= 64: 6 + 2 - 5, …; the kernel refuses HZ <= 16 and HZ > 4096.
        let log = hz.max(32).next_power_of_two().ilog2().min(12);
        Self { period: timewait_len / SLOTS as u64, timewait_len, recycle_tick: log + 2 - RECYCLE_SLOTS_LOG }
    }

    /// `inet_twsk_schedule` up to the choice of the list.
    pub fn target(&self, timeout: u64) -> Target {
        let width = 1 << self.recycle_tick;
        let ticks = timeout.saturating_add(width - 1) >> self.recycle_tick;
        if ticks < RECYCLE_SLOTS as u64 {
            return Target::Recycle(ticks as usize);
        }
        let last = SLOTS as u64 - 1;
        let ahead = if timeout >= self.timewait_len { last } else { timeout.div_ceil(self.period).min(last) };
        Target::Slow(ahead as usize)
    }

    /// Jiffies that a socket of the slow row lives: more than the first, at most the second. The hand passes each
    /// slot ahead once if that keeps to its quota, twice if it does not.
    pub fn bounds(&self, ahead: usize) -> (u64, u64) {
        (ahead as u64 * self.period, (2 * ahead as u64 + 1) * self.period)
    }
}

/// Sockets that arrived together. What `id` means is the caller's affair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    pub id: u64,
    pub count: u64,
}

/// Who killed a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Killer {
    /// The tick of the slow row, within its quota.
    Tick,
    /// The work item that takes what a tick left.
    Work,
    /// The tick of the recycle row.
    Recycle,
}

/// The death row.
#[derive(Clone, Debug)]
pub struct DeathRow {
    shape: Shape,
    cells: [Vec<Group>; SLOTS],
    hand: usize,
    timer: Option<u64>,
    recycle: [Vec<Group>; RECYCLE_SLOTS],
    /// The recycle row's hand, and the jiffy that it stands for; None when the row is empty.
    recycle_hand: Option<(usize, u64)>,
    recycle_timer: Option<u64>,
    /// Sockets of both rows.
    count: u64,
}

impl DeathRow {
    pub fn new(shape: Shape) -> Self {
        Self {
            shape,
            cells: Default::default(),
            hand: 0,
            timer: None,
            recycle: Default::default(),
            recycle_hand: None,
            recycle_timer: None,
            count: 0,
        }
    }

    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Puts a group on the row at the jiffy `now`, up to which it must have been [advanced](Self::advance).
    pub fn schedule(&mut self, now: u64, timeout: u64, group: Group) {
        if group.count == 0 {
            return;
        }
        match self.shape.target(timeout) {
            Target::Slow(ahead) => self.cells[(self.hand + ahead) % SLOTS].push(group),
            Target::Recycle(ticks) => self.schedule_short(now, ticks, group),
        }
        if self.count == 0 {
            self.timer = Some(now + self.shape.period);
        }
        self.count += group.count;
    }

    fn schedule_short(&mut self, now: u64, ticks: usize, group: Group) {
        let due = now + ((ticks as u64) << self.shape.recycle_tick);
        let slot = match self.recycle_hand {
            None => {
                self.recycle_hand = Some((0, now));
                self.recycle_timer = Some(due);
                ticks
            }
            // Counted from the hand, which may lag behind by the time since its last tick: the kernel's own
            // inaccuracy, by which a socket can die early.
            Some((hand, _)) => {
                self.recycle_timer = self.recycle_timer.map(|timer| timer.min(due));
                (hand + ticks) % RECYCLE_SLOTS
            }
        };
        self.recycle[slot].push(group);
    }

    /// Runs all timers up to and including the jiffy `until`.
    pub fn advance(&mut self, until: u64, mut killed: impl FnMut(u64, Killer, Group)) {
        while let Some(now) = self.next_timer().filter(|&due| due <= until) {
            if self.timer == Some(now) {
                self.timer = None;
                self.hangman(now, &mut killed);
            } else {
                self.recycle_timer = None;
                self.recycle_tick(now, &mut killed);
            }
        }
    }

    /// The jiffy of the next timer; None when the row is empty for good.
    pub fn next_timer(&self) -> Option<u64> {
        match (self.timer, self.recycle_timer) {
            (Some(slow), Some(short)) => Some(slow.min(short)),
            (one, other) => one.or(other),
        }
    }

    /// `inet_twdr_hangman` and, at once, the work item that it may schedule.
    fn hangman(&mut self, now: u64, killed: &mut impl FnMut(u64, Killer, Group)) {
        if self.count == 0 {
            return;
        }
        let mut left = QUOTA + 1;
        while let Some(group) = self.cells[self.hand].pop() {
            let count = group.count.min(left);
            killed(now, Killer::Tick, Group { count, ..group });
            self.count -= count;
            left -= count;
            if count < group.count {
                self.cells[self.hand].push(Group { count: group.count - count, ..group });
            }
            if left == 0 {
                break;
            }
        }
        if left == 0 {
            for group in self.cells[self.hand].drain(..) {
                killed(now, Killer::Work, group);
                self.count -= group.count;
            }
            // Even when nothing is left: the tick does not look before it asks for the next one.
            self.timer = Some(now + self.shape.period);
        } else {
            self.hand = (self.hand + 1) % SLOTS;
            self.timer = (self.count > 0).then(|| now + self.shape.period);
        }
    }

    /// `inet_twdr_twcal_tick`
    fn recycle_tick(&mut self, now: u64, killed: &mut impl FnMut(u64, Killer, Group)) {
        let Some((hand, since)) = self.recycle_hand.take() else { return };
        for ahead in 0..RECYCLE_SLOTS {
            let slot = (hand + ahead) % RECYCLE_SLOTS;
            let due = since + ((ahead as u64) << self.shape.recycle_tick);
            if due <= now {
                for group in self.recycle[slot].drain(..) {
                    killed(now, Killer::Recycle, group);
                    self.count -= group.count;
                }
                continue;
            }
            self.recycle_hand = self.recycle_hand.or(Some((slot, due)));
            if !self.recycle[slot].is_empty() {
                self.recycle_timer = Some(due);
                break;
            }
        }
        if self.recycle_timer.is_none() {
            self.recycle_hand = None;
        }
        if self.count == 0 {
            self.timer = None;
        }
    }
}

#[cfg(test)]
mod tests;
