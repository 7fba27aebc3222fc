//! The length of TIME_WAIT proper is learned here from timers as they are armed. All lengths are in jiffies.
//!
//! It is one constant of the kernel (TCP_TIMEWAIT_LEN), except where vendors made it a setting of each network namespace
//! that can change at any time (`net.ipv4.tcp_tw_timeout`, 1 – 600 s, Alibaba Cloud Linux 2 and 3 and others). There,
//! nothing is worked out from it: a timer whose arming was not seen may have been armed for any of the lengths.

/// The word that both sides keep for it ([`Cell::TimewaitLen`](crate::config::Cell)) when there is more than one.
pub const VARIES: u64 = u64::MAX;

/// The one length, from the word; zero where it is not known, or there is more than one.
pub const fn only(word: u64) -> u64 {
    if word == VARIES { 0 } else { word }
}

/// The timeout that a timer was armed for, from what is left of it: a tick may have come in between.
pub const fn asked(word: u64, left: u64) -> u64 {
    if word == left + 1 { word } else { left }
}

/// The word after a timer that was armed for `seen`. Within the tolerance it is the same length, seen late: that long may
/// a machine stand still between the arming and the look at it.
pub const fn learned(word: u64, seen: u64, tolerance: u64) -> u64 {
    if word == 0 {
        seen
    } else if word == VARIES || word.abs_diff(seen) > tolerance {
        VARIES
    } else if seen > word {
        seen
    } else {
        word
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 15_000;
    const HALF_A_SECOND: u64 = 125;

    fn after(seen: &[u64]) -> u64 {
        seen.iter().fold(0, |word, seen| learned(word, *seen, HALF_A_SECOND))
    }

    #[test]
    fn one_length_is_learned_however_late_it_is_seen() {
        assert_eq!(only(after(&[])), 0);
        assert_eq!(only(after(&[MINUTE])), MINUTE);
        assert_eq!(only(after(&[MINUTE - 3, MINUTE, MINUTE - HALF_A_SECOND, MINUTE - 1])), MINUTE);
    }

    #[test]
    fn of_two_lengths_none_is_taken_for_the_other() {
        for other in [MINUTE / 2, MINUTE - 250, 2 * MINUTE, 250] {
            assert_eq!(only(after(&[MINUTE, other])), 0, "{other}");
            assert_eq!(only(after(&[MINUTE, other, MINUTE, MINUTE])), 0, "for good, after {other}");
        }
    }

    #[test]
    fn a_tick_between_is_made_up_for_and_no_more() {
        assert_eq!(asked(MINUTE, MINUTE - 1), MINUTE);
        for left in [MINUTE, MINUTE - 2, MINUTE + 1, 7_500] {
            assert_eq!(asked(MINUTE, left), left);
        }
        assert_eq!((asked(0, MINUTE), asked(VARIES, MINUTE - 1)), (MINUTE, MINUTE - 1));
    }
}
