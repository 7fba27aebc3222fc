//! A machine where a process may do everything, for tests that bring the types and symbols of another kernel.

use tw_trace::kernel::capability::Capabilities;
use tw_trace::kernel::facts::{Release, System};
use tw_trace::kernel::tick::Tick;

pub(crate) fn where_all_is_allowed(release: Release) -> System {
    System {
        release,
        tick: Ok(Tick { ns: 4_000_000, hz: 250 }),
        capabilities: Ok(Capabilities { effective: u64::MAX, initial_user_ns: true }),
        lockdown: Ok("none".to_owned()),
        sysfs: true,
        kprobe_events: Ok(true),
        function_tracing: Ok(true),
        init_private: false,
    }
}
