//! What restarts a time-wait socket's clock: the segment that `tcp_timewait_state_process` looks at.

use tw_trace_common::{fields::ABSENT, state::RearmCause};

use crate::{
    globals::offset,
    maps::{CPU, OPTIONS, Place, Scratch, Segment},
    sock,
};

/// `enum tcp_tw_status tcp_timewait_state_process(struct inet_timewait_sock *tw, struct sk_buff *skb,
/// const struct tcphdr *th, …)`; what follows changed in 6.10 and since, and is not read (5.10 – 7.3). Runs in
/// softirq: what the segment makes the kernel do to the time-wait socket is done before the next one comes.
#[inline(always)]
pub(crate) fn arrives(tw: u64, skb: u64, th: u64) {
    let Some(scratch) = Place::Segment.scratch() else { return };
    let cause = if_restarts(tw, skb, th, scratch) as u64;
    if let Some(cpu) = CPU.get_ptr_mut(0) {
        // SAFETY: a map value of this CPU, used in softirq only.
        unsafe { (*cpu).segment = Segment { tw, cause } };
    }
}

/// Why the clock of a socket in TIME_WAIT proper is being restarted. Unknown where segments are not watched.
#[inline(always)]
pub(crate) fn cause(tw: u64) -> u8 {
    let Some(cpu) = CPU.get_ptr_mut(0) else { return RearmCause::Unknown as u8 };
    // SAFETY: as in `arrives`.
    let segment = unsafe { core::mem::replace(&mut (*cpu).segment, Segment { tw: 0, cause: 0 }) };
    if segment.tw == tw { segment.cause as u8 } else { RearmCause::Unknown as u8 }
}

/// The cause, should this segment restart the clock: the tests of `tcp_timewait_state_process` in their order.
#[inline(always)]
fn if_restarts(tw: u64, skb: u64, th: u64, scratch: &mut Scratch) -> RearmCause {
    let fields = [offset!(tw_rcv_nxt), offset!(skb_cb), offset!(cb_seq), offset!(cb_end_seq)];
    if fields.contains(&usize::from(ABSENT)) {
        return RearmCause::Unknown;
    }
    if fails_paws(tw, th, scratch) {
        return RearmCause::Paws;
    }
    let (seq, end_seq) = sock::sequence(skb);
    if seq == sock::rcv_nxt(tw) && seq == end_seq { RearmCause::Ack } else { RearmCause::LateSegment }
}

/// `tcp_paws_reject` (include/net/tcp.h, 5.10 – 7.3), but for its last clause: a timestamp is not rejected when the
/// last one is more than 24 days old, which that of a connection closed a minute ago is not. RSTs restart nothing.
#[inline(always)]
fn fails_paws(tw: u64, th: u64, scratch: &mut Scratch) -> bool {
    let Some((recent, stamp)) = sock::ts_recent(tw) else { return false };
    if recent == 0 || stamp == 0 {
        return false;
    }
    match timestamp(th, scratch) {
        Some(value) => recent.wrapping_sub(value).cast_signed() > 0,
        None => false,
    }
}

/// The value of the timestamp option, if it is among the first options.
#[inline(always)]
fn timestamp(th: u64, scratch: &mut Scratch) -> Option<u32> {
    const MOST: u32 = 20;
    const MASK: u64 = OPTIONS as u64 - 1;
    const END: u8 = 0;
    const NOP: u8 = 1;
    const TIMESTAMP: (u8, u8) = (8, 10);
    let len = sock::tcp_options(th, &mut scratch.options);
    // Kept in memory, where the verifier forgets it: otherwise it would follow every sum of lengths there can be.
    let place = &raw mut scratch.option;
    // SAFETY: a field of the scratch, here and below.
    unsafe { place.write_volatile(0) };
    // Without the black box the compiler knows, as the verifier does not, that the mask changes nothing.
    let byte = |at: u64| {
        let at = core::hint::black_box(at) & MASK;
        scratch.options.get(at as usize).copied().unwrap_or(END)
    };
    for _ in 0..MOST {
        // SAFETY: as above.
        let at = unsafe { place.read_volatile() };
        if at >= len {
            return None;
        }
        let (kind, size) = (byte(at), byte(at + 1));
        let size = if kind == NOP { 1 } else { size };
        if kind == END || size == 0 {
            return None;
        }
        if (kind, size) == TIMESTAMP {
            return Some(u32::from_be_bytes([byte(at + 2), byte(at + 3), byte(at + 4), byte(at + 5)]));
        }
        // SAFETY: as above.
        unsafe { place.write_volatile(at + u64::from(size)) };
    }
    None
}
