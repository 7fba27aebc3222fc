//! THE list of kernel fields that tw-trace reads. Offsets come from the running kernel's BTF at load time.

/// The offset of a field that this kernel does not have.
pub const ABSENT: u16 = u16::MAX;

/// The kernel side copies this much of a `sock_common` at once: every field of it must end within.
pub const COMMON_BYTES: usize = 128;

/// One kernel field: where it is and whether tw-trace can do without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// The struct that holds it, as BTF names it.
    pub of: &'static str,
    /// The member's path inside, through nested structs and anonymous unions.
    pub path: &'static str,
    /// Its size in bytes, which the kernel's must equal.
    pub size: u16,
    pub need: Need,
}

/// What is lost without a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    Required,
    /// Can be absent; the text says what is then not told.
    Optional(&'static str),
}

macro_rules! fields {
    ($($name:ident: $of:literal . $path:literal, $size:literal, $need:expr;)+) => {
        /// Byte offsets of all [`FIELDS`], in their order; [`ABSENT`] where the kernel lacks one.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(C)]
        pub struct Offsets { $(#[doc = concat!("`", $of, ".", $path, "`")] pub $name: u16,)+ }

        pub const FIELDS: &[Field] =
            &[$(Field { of: $of, path: $path, size: $size, need: $need }),+];

        impl Offsets {
            pub const NONE: Self = Self { $($name: ABSENT),+ };

            /// From the offsets in the order of [`FIELDS`].
            pub const fn from_slots(slots: [u16; FIELDS.len()]) -> Self {
                let mut i = 0;
                $(let $name = slots[i]; i += 1;)+
                let _ = i;
                Self { $($name),+ }
            }

            /// The offsets in the order of [`FIELDS`].
            pub const fn slots(&self) -> [u16; FIELDS.len()] {
                [$(self.$name),+]
            }
        }
    };
}

const CAUSE: Need = Need::Optional("the cause of a re-arm other than a FIN");

const MPTCP: Need = Need::Optional("who closed an MPTCP connection, whose subflows the kernel closes itself");

const HALF_OPEN: Need = Need::Optional("how long connections were half open (dwell in SYN_RECV)");

const DCCP: Need = Need::Optional("which time-wait sockets are DCCP's");

const V6: Need = Need::Optional("IPv6 addresses (the kernel is built without IPv6)");

fields! {
    skc_daddr: "sock_common"."skc_daddr", 4, Need::Required;
    skc_rcv_saddr: "sock_common"."skc_rcv_saddr", 4, Need::Required;
    skc_dport: "sock_common"."skc_dport", 2, Need::Required;
    skc_num: "sock_common"."skc_num", 2, Need::Required;
    skc_family: "sock_common"."skc_family", 2, Need::Required;
    skc_state: "sock_common"."skc_state", 1, Need::Required;
    skc_net: "sock_common"."skc_net.net", 8, Need::Required;
    skc_v6_daddr: "sock_common"."skc_v6_daddr", 16, V6;
    skc_v6_rcv_saddr: "sock_common"."skc_v6_rcv_saddr", 16, V6;
    skc_bound_dev_if: "sock_common"."skc_bound_dev_if", 4, Need::Required;
    skc_cookie: "sock_common"."skc_cookie", 8, Need::Required;
    sk_protocol: "sock"."sk_protocol", 2, Need::Required;
    sk_owned: "sock"."sk_lock.owned", 4, Need::Required;
    inet_sport: "inet_sock"."inet_sport", 2, Need::Required;
    tw_substate: "inet_timewait_sock"."tw_substate", 1, Need::Required;
    tw_timer: "inet_timewait_sock"."tw_timer", 40, Need::Required;
    timer_pprev: "timer_list"."entry.pprev", 8, Need::Required;
    timer_expires: "timer_list"."expires", 8, Need::Required;
    timer_function: "timer_list"."function", 8, Need::Required;
    timer_flags: "timer_list"."flags", 4, Need::Required;
    tw_rcv_nxt: "inet_timewait_sock"."__tw_common.skc_tw_rcv_nxt", 4, CAUSE;
    tw_ts_recent: "tcp_timewait_sock"."tw_ts_recent", 4, CAUSE;
    tw_ts_recent_stamp: "tcp_timewait_sock"."tw_ts_recent_stamp", 4, CAUSE;
    skb_cb: "sk_buff"."cb", 48, CAUSE;
    cb_seq: "tcp_skb_cb"."seq", 4, CAUSE;
    cb_end_seq: "tcp_skb_cb"."end_seq", 4, CAUSE;
    max_tw_buckets: "inet_timewait_death_row"."sysctl_max_tw_buckets", 4,
        Need::Optional("the limit that made a connection skip TIME_WAIT");
    task_group_leader: "task_struct"."group_leader", 8, Need::Required;
    task_comm: "task_struct"."comm", 16, Need::Required;
    task_flags: "task_struct"."flags", 4, Need::Required;
    is_mptcp: "tcp_sock"."is_mptcp", 1, MPTCP;
    icsk_ulp_data: "inet_connection_sock"."icsk_ulp_data", 8, MPTCP;
    subflow_conn: "mptcp_subflow_context"."conn", 8, MPTCP;
    net_inum: "net"."ns.inum", 4, Need::Required;
    net_cookie: "net"."net_cookie", 8,
        Need::Optional("which of two network namespaces an inode meant, when it was used again (Linux 5.12)");
    skc_prot: "sock_common"."skc_prot", 8, DCCP;
    proto_name: "proto"."name", 32, DCCP;
    tcp_srtt_us: "tcp_sock"."srtt_us", 4, HALF_OPEN;
    tcp_total_retrans: "tcp_sock"."total_retrans", 4, HALF_OPEN;
    tcp_fastopen_rsk: "tcp_sock"."fastopen_rsk", 8, HALF_OPEN;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_fill_the_offsets_in_order() {
        let mut slots = [0u16; FIELDS.len()];
        for (i, slot) in slots.iter_mut().enumerate() {
            *slot = i as u16;
        }
        let offsets = Offsets::from_slots(slots);
        assert_eq!(offsets.skc_daddr, 0);
        assert_eq!(usize::from(offsets.tcp_fastopen_rsk), FIELDS.len() - 1);
        assert_eq!(size_of::<Offsets>(), 2 * FIELDS.len());
    }
}
