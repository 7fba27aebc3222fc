//! The only writer of the ring buffers: reserve, fill, submit, or count what found no room.

use aya_ebpf::{bindings::BPF_RB_NO_WAKEUP, helpers::bpf_get_smp_processor_id, maps::ring_buf::RingBufEntry};
use tw_trace_common::{
    config::RINGS,
    counter,
    event::{Conn, Head, Kind, Owner, State, TwEnter, TwExit, TwOverflow, TwRearm},
};

use crate::{
    count::count,
    globals::{CONFIG, load},
    maps::{RING_0, RING_1, RING_2, RING_3, RING_4, RING_5, RING_6, RING_7},
    words,
};

/// Sends one record of type `R`: `fill` writes what comes after the owner. User space polls on a timer: a wake-up
/// per record would cost the traced connection more than everything else together.
#[inline(always)]
pub(crate) fn emit<R: Start + 'static>(
    kind: Kind,
    mono_ns: u64,
    conn: &Conn,
    owner: &Owner,
    fill: impl FnOnce(&mut R),
) {
    let (made, lost) = counter::of_kind(kind);
    count(made);
    // SAFETY: takes no arguments.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    let Some(mut entry) = reserve::<R>(cpu) else {
        count(lost);
        return;
    };
    // SAFETY: room for an `R`, and any bytes are one (integers only); `start` and `fill` write every field,
    // so that nothing of an older record is left in it.
    let record = unsafe { &mut *entry.as_mut_ptr() };
    let begin = record.start();
    begin.head = Head { mono_ns, cpu, kind: kind as u8, spare: 0, spare2: 0 };
    words::copy(&mut begin.conn, conn);
    words::copy(&mut begin.owner, owner);
    fill(record);
    entry.submit(u64::from(BPF_RB_NO_WAKEUP));
}

/// Two CPUs that write into one ring wait for each other, which costs either as much as the rest of its program.
#[inline(always)]
fn reserve<R: 'static>(cpu: u32) -> Option<RingBufEntry<R>> {
    const _: () = assert!(RINGS == 8);
    let ring = match cpu & load(&CONFIG.ring_mask) {
        0 => &RING_0,
        1 => &RING_1,
        2 => &RING_2,
        3 => &RING_3,
        4 => &RING_4,
        5 => &RING_5,
        6 => &RING_6,
        _ => &RING_7,
    };
    ring.reserve::<R>(0)
}

/// What every record begins with.
#[repr(C)]
pub(crate) struct Begin {
    head: Head,
    conn: Conn,
    owner: Owner,
}

/// A record that begins with a [`Begin`].
pub(crate) trait Start: Sized {
    #[inline(always)]
    fn start(&mut self) -> &mut Begin {
        // SAFETY: only implemented for records whose first fields are head, conn, owner (asserted in event.rs).
        unsafe { &mut *(&raw mut *self).cast() }
    }
}

impl Start for State {}
impl Start for TwEnter {}
impl Start for TwRearm {}
impl Start for TwExit {}
impl Start for TwOverflow {}
