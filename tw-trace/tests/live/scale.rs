//! More than a million sockets in TIME_WAIT when the run begins.

use std::time::{Duration, Instant};

use crate::harness::{live, loud};
use crate::run::{Tracer, ns};
use crate::traffic::Traffic;

/// Above what the kernel's iterator lists in one go.
const STANDING: u32 = 1_020_000;
const MORE: u32 = 5_000;
/// The kernel side's table finds a socket's line by its address and looks at a bounded number of others: seldom is none of
/// them free (`followed` of the kernel side). What had no room is counted, and looked for again within a second.
const NO_ROOM: u64 = 10;
/// Two seconds on a machine that does nothing else.
const READY: Duration = Duration::from_secs(10);

#[test]
fn a_million_sockets_are_seeded_and_add_up() {
    live("a_million_sockets_are_seeded_and_add_up", || {
        let _loud = loud();
        let Some(mut traffic) = Traffic::standing(STANDING, MORE) else {
            eprintln!("tw-trace-skip-part: a million sockets: this machine makes them slower than they end");
            return;
        };
        let began = Instant::now();
        let tracer = Tracer::of_netns(traffic.netns, &["--events", "tw_enter,tw_exit"]);
        let took = began.elapsed();
        println!("ready after {} ms with {STANDING} sockets in TIME_WAIT", took.as_millis());
        traffic.go(1);
        let run = tracer.interrupt();
        let summary = &run.summary;
        assert!(run.status.success(), "{}", run.stderr);
        assert_eq!(summary["balanced"], true, "{summary}");
        let no_room = ns(&summary["lost"]);
        assert_eq!(no_room, summary["lost_by"]["seed_map_full"].as_u64().unwrap_or(0), "{summary}");
        assert!(no_room <= NO_ROOM, "{summary}");
        assert_eq!(ns(&summary["seeded"]) + no_room, u64::from(STANDING), "{summary}");
        assert_eq!(summary["entered"], MORE, "{summary}");
        let ended = ns(&summary["sockets"]["exited"]);
        assert_eq!(ns(&summary["live"]) + ended + no_room, u64::from(STANDING + MORE), "{summary}");
        assert!(took < READY, "{took:?}");
    });
}
