//! The only writer of histograms by key: one for all CPUs, changed by atomic additions.

use aya_ebpf::bindings::BPF_NOEXIST;
use tw_trace_common::{
    config::Cell,
    counter::Counter,
    histogram::{BUCKETS, index},
    keys::{By, EPOCH_SHIFT, Key, KeyHistogram},
};

use crate::{
    count::count,
    globals::{CONFIG, load},
    maps::{KEYS, Scratch, cell, fetch_add},
    words,
};

/// In read-only data: it would not fit on the stack.
static EMPTY: KeyHistogram = KeyHistogram::EMPTY;

#[inline(always)]
fn is(by: By) -> bool {
    load(&CONFIG.by) == by as u32
}

/// Whether the key is made of the ends of the connection.
#[inline(always)]
pub(crate) fn are_ends() -> bool {
    is(By::Remote) || is(By::RemoteAddress) || is(By::LocalPort)
}

/// Counts a value under the key of the socket in the scratch, if keys were asked for.
#[inline(always)]
pub(crate) fn record(scratch: &mut Scratch, value: u64) {
    if load(&CONFIG.by) == 0 {
        return;
    }
    scratch.key = key(scratch);
    // User space flips the epoch, waits for the programs that may still use the one before, and takes its entries out.
    scratch.key.0[2] |= cell(Cell::KeyEpoch) << EPOCH_SHIFT;
    let Some(histogram) = entry(&scratch.key) else {
        count(Counter::KeyMapFull);
        return;
    };
    let bucket = words::low_bits::<{ BUCKETS.next_power_of_two() as u64 - 1 }>(index(value).into());
    // SAFETY: a map value, whose words are only changed by atomic additions.
    unsafe {
        fetch_add(&raw mut (*histogram).sum, value.cast_signed());
        if let Some(count) = (*histogram).counts.get_mut(bucket as usize) {
            fetch_add(count, 1);
        }
    }
}

#[inline(always)]
fn key(scratch: &Scratch) -> Key {
    let (owner, conn) = (&scratch.owner, &scratch.conn);
    let halves = |bytes: [u8; 16]| {
        // SAFETY: sixteen bytes are two words.
        unsafe { core::mem::transmute::<[u8; 16], [u64; 2]>(bytes) }
    };
    if is(By::Process) {
        let [first, second] = halves(owner.comm);
        Key([first, second, owner.pid.into()])
    } else if is(By::Cgroup) {
        Key([owner.cgroup, 0, 0])
    } else if is(By::Remote) {
        Key::remote(halves(conn.raddr), conn.rport, conn.family, conn.ifindex)
    } else if is(By::RemoteAddress) {
        Key::remote(halves(conn.raddr), 0, conn.family, conn.ifindex)
    } else {
        Key([conn.lport.into(), 0, 0])
    }
}

/// The key's histogram, made now if there was none; none if there is no room.
#[inline(always)]
fn entry(key: &Key) -> Option<*mut KeyHistogram> {
    KEYS.get_ptr_mut(key).or_else(|| {
        let empty: &KeyHistogram = &EMPTY;
        // Another CPU may be first; then this insertion fails and the entry is there all the same.
        let _ = KEYS.insert(key, empty, u64::from(BPF_NOEXIST));
        KEYS.get_ptr_mut(key)
    })
}
