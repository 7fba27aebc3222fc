//! DCCP, whose time-wait sockets have timers like those of TCP (up to Linux 6.15).

use std::path::Path;

use tw_trace_common::{
    config::mode_bits,
    fields::{ABSENT, Offsets},
};

/// There where DCCP is built in, or its module loaded.
const MODULE: &str = "/sys/module/dccp";

/// Has the kernel side look whose a time-wait socket is, where it may be DCCP's: the look costs, and hardly anybody has
/// DCCP. A module that is loaded during a run is not noticed.
pub fn mode(offsets: &Offsets) -> u16 {
    mode_where(Path::new(MODULE), offsets)
}

fn mode_where(module: &Path, offsets: &Offsets) -> u16 {
    let is_told = offsets.skc_prot != ABSENT && offsets.proto_name != ABSENT;
    if is_told && module.exists() { mode_bits::DCCP } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_looked_for_only_where_it_may_be_and_can_be_told() {
        let offsets = Offsets { skc_prot: 40, proto_name: 300, ..Offsets::NONE };
        let (here, nowhere) = (Path::new("/"), Path::new("/nowhere"));
        assert_eq!(mode_where(here, &offsets), mode_bits::DCCP);
        assert_eq!(mode_where(nowhere, &offsets), 0);
        assert_eq!(mode_where(here, &Offsets { proto_name: ABSENT, ..offsets }), 0);
    }
}
