//! The only writer of the ring buffer: reserve, fill, submit, or count what found no room.

use aya_ebpf::{bindings::BPF_RB_NO_WAKEUP, helpers::bpf_get_smp_processor_id};
use tw_trace_common::{
    counter,
    event::{Conn, Head, Kind, Owner, State, TwEnter, TwExit, TwRearm},
};

use crate::{count::count, maps::RING};

/// Sends one record of type `R`: `fill` writes what comes after the owner. User space polls on a timer: a wake-up per record would cost the traced
/// connection more than everything else together.
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
    let Some(mut entry) = RING.reserve::<R>(0) else {
        count(lost);
        return;
    };
    // SAFETY: room for an `R`, and any bytes are one (integers only); `start` and `fill` write every field,
    // so that nothing of an older record is left in it.
    let record = unsafe { &mut *entry.as_mut_ptr() };
    // SAFETY: takes no arguments.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    *record.start() =
        Begin { head: Head { mono_ns, cpu, kind: kind as u8, spare: [0; 3] }, conn: *conn, owner: *owner };
    fill(record);
    entry.submit(u64::from(BPF_RB_NO_WAKEUP));
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
