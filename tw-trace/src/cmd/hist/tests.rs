//! What is asked for, what is told of it, and that both are as the schema has it.

use clap::Parser as _;
use serde_json::{Value, json};
use tw_trace_common::{
    event::{AF_INET, AF_INET6, Kind},
    histogram::{BUCKETS, Series, index},
    keys::Key,
    state::{ExitReason, TcpState},
};

use super::{
    counted::{Block, Counted},
    key::Name,
    *,
};
use crate::{
    audit::Audit,
    buckets::Buckets,
    cli::{Cli, Command},
    collector::{Collector, KernelTotals},
    few::FewBuckets,
    kernel::{
        keys::{ByKey, Rest},
        plan::Wants,
    },
    made_up::{self, SECOND},
    sink::{CgroupNames, Style},
};

#[path = "../../../tests/common/schema.rs"]
mod schema;

struct OneCgroup;

impl CgroupNames for OneCgroup {
    fn path(&mut self, id: u64) -> Option<&str> {
        (id == 42).then_some("/user.slice")
    }
}

fn asked(line: &str) -> Result<Asked, String> {
    let words = ["tw-trace", "hist"].into_iter().chain(line.split_whitespace());
    match Cli::try_parse_from(words).expect("a command line").command {
        Command::Hist(args) => Asked::new(&args),
        Command::Trace(_) | Command::Wheel(_) | Command::Model(_) | Command::Doctor(_) => panic!("not hist"),
    }
}

#[test]
fn only_what_is_asked_for_is_watched() {
    let wants = |line: &str| asked(line).unwrap().wants();
    let [ends, states] = [Kind::TwExit, Kind::State].map(|kind| Wants::kinds(&[kind]));
    let both = Wants::kinds(&[Kind::TwExit, Kind::State]);
    assert_eq!(wants(""), both.without_owners());
    assert_eq!(wants("--of time-wait"), ends.without_owners());
    assert_eq!(wants("--of dwell --port 80"), states.without_owners());
    assert_eq!(wants("--of time-wait --by process"), ends);
    assert_eq!(wants("--by cgroup"), both);
    assert_eq!(wants("--of time-wait --by remote"), ends.without_owners());
    assert_eq!(wants("--of time-wait --comm nginx"), ends);
    assert_eq!(wants("--reason rst"), ends.without_owners());
    assert_eq!(wants("--state ESTABLISHED"), states.without_owners());
    assert_eq!(wants("--state TIME_WAIT"), ends.without_owners());
    assert_eq!(wants("--state FIN_WAIT2"), both.without_owners());
}

#[test]
fn what_can_count_nothing_is_refused() {
    for line in
        ["--of dwell --reason rst", "--of time-wait --state ESTABLISHED", "--reason rst --state LISTEN"]
    {
        assert!(asked(line).unwrap_err().contains("together match nothing"), "{line}");
    }
    assert!(asked("--of dwell --by process").unwrap_err().contains("drop --by"));
    let refused =
        |line: &str| Cli::try_parse_from(["tw-trace", "hist"].into_iter().chain(line.split(' '))).is_err();
    assert!(
        refused("--count 3") && refused("--keys 5") && refused("--interval 1ms") && refused("--with-events")
    );
    assert!(refused("--by reason --top 0") && !refused("--by reason --top 1"));
}

fn buckets(values: &[u64]) -> Buckets {
    let mut buckets = Buckets::default();
    values.iter().for_each(|value| buckets.insert(*value));
    buckets
}

fn few(values: &[u64]) -> FewBuckets {
    let mut counts = [0; BUCKETS];
    values.iter().for_each(|value| counts[index(*value) as usize] += 1);
    FewBuckets::from_counts(&counts, values.iter().sum())
}

/// Everything that there are distributions of.
fn counted() -> Counted {
    let all = Asked { time_waits: true, dwell: true, owners: true, by: None, top: 10 };
    let [wait, soon] = [61 * SECOND, 5_000].map(|ns| buckets(&[ns, ns + 1_000]));
    let distributions = all.series().into_iter();
    let distributions = distributions
        .map(|of| (of, if matches!(of, Series::TimeWait(_)) { wait.clone() } else { soon.clone() }))
        .collect();
    let keys = [
        (Key([42, 0, 1]), few(&[61 * SECOND, 61 * SECOND + 1_000])),
        (Key([0, 0, 7]), few(&[61 * SECOND])),
        (Key::default(), few(&[5_000, 6_000])),
    ];
    let by_key = ByKey { keys: keys.into_iter().collect(), rest: Rest::default() };
    Counted { distributions, by_key, undated: 3, no_room: 2 }
}

const BY: [ByArg; 6] =
    [ByArg::Process, ByArg::Cgroup, ByArg::Remote, ByArg::RemoteAddress, ByArg::LocalPort, ByArg::Reason];

fn block(counted: Counted, by: Option<ByArg>, top: usize) -> Block {
    let by = by.map(|by| counted.top(by, top));
    Block { mono_ns: made_up::START + SECOND, interval_ns: SECOND, counted, by, living: 67 }
}

fn written(write: impl FnOnce(&mut dyn Format)) -> Vec<Value> {
    let mut out = Vec::new();
    let mut format = JsonFormat::new(Json::new(&mut out, OneCgroup));
    write(&mut format);
    let validator = schema::validator_of(include_str!("../../../../docs/hist.schema.json"));
    String::from_utf8(out).expect("UTF-8").lines().map(|line| schema::check(&validator, line)).collect()
}

#[test]
fn lines_are_as_the_schema_has_them() {
    let summary = Collector::new(made_up::TICK_NS).finish(&KernelTotals::default(), Audit::default());
    let lines = written(|format| {
        format.header(&crate::header::Header::default()).expect("writing to memory");
        format.block(&block(counted(), None, 10)).expect("writing to memory");
        for by in BY {
            format.block(&block(counted(), Some(by), 2)).expect("writing to memory");
        }
        format.block(&block(Counted::default(), None, 10)).expect("writing to memory");
        format.summary(&summary).expect("writing to memory");
    });
    assert_eq!(lines.len(), 10);
    for line in [&lines[0], &lines[9]] {
        schema::check(&schema::validator(), &line.to_string());
    }
    let first = &lines[1];
    let distributions = first["distributions"].as_array().expect("distributions");
    assert_eq!(distributions.len(), ExitReason::ALL.len() + 2 + TcpState::ALL.len());
    assert_eq!(
        (&first["by_key"], &first["by"], &first["by_others"]),
        (&Value::Null, &json!([]), &Value::Null)
    );
    assert_eq!((&first["undated"], &first["interval_ns"]), (&json!(3), &json!(SECOND)));
    let process = &lines[2];
    assert_eq!(process["by"][0]["comm"], Value::Null, "the first of those with two sockets");
    assert_eq!(process["by_others"], json!({"keys": 1, "count": 1, "no_room": 2}));
    assert_eq!(
        (&lines[3]["by"][1]["cgroup"], &lines[3]["by"][1]["cgroup_id"]),
        (&json!("/user.slice"), &json!(42))
    );
    assert_eq!(lines[7]["by"][0]["reason"], "unknown");
    assert_eq!(lines[7]["by_others"]["keys"], 6);
}

#[test]
fn keys_have_names() {
    let name = |by, key| Name::Key(by, key).text(&mut OneCgroup);
    let word = |text: &[u8; 8]| u64::from_ne_bytes(*text);
    let process = Key([word(b"nginx: w"), word(b"orker\0\0\0"), 77]);
    assert_eq!(name(By::Process, process), "nginx: worker[77]");
    assert_eq!(name(By::Process, Key::default()), "-");
    assert_eq!(name(By::Cgroup, Key([42, 0, 0])), "/user.slice");
    assert_eq!(name(By::Cgroup, Key([43, 0, 0])), "cgroup 43, gone");
    let v4 = [u64::from(u32::from_ne_bytes([192, 0, 2, 1])), 0];
    assert_eq!(name(By::Remote, Key::remote(v4, 443, AF_INET, 3)), "192.0.2.1:443");
    assert_eq!(name(By::RemoteAddress, Key::remote(v4, 0, AF_INET, 0)), "192.0.2.1");
    let v6 = [0, u64::from_be(1)];
    assert_eq!(name(By::Remote, Key::remote(v6, 80, AF_INET6, 3)), "[::1]:80");
    let link_local = |ifindex| Key::remote([u64::from_be(0xfebf << 48), v6[1]], 80, AF_INET6, ifindex);
    assert_eq!(name(By::Remote, link_local(3)), "[febf::1%3]:80");
    assert_eq!(name(By::RemoteAddress, link_local(u32::MAX)), "febf::1%4294967295");
    assert_eq!(Name::Key(By::Remote, link_local(3)).json(&mut OneCgroup)["ifindex"], 3);
    assert_eq!(Name::Key(By::Remote, link_local(0)).json(&mut OneCgroup).get("ifindex"), None);
    assert_ne!(link_local(3), link_local(4));
    assert_eq!(Name::Key(By::LocalPort, Key([8080, 0, 0])).json(&mut OneCgroup)["lport"], 8080);
}

#[test]
fn intervals_add_up_to_the_whole() {
    let (first, mut whole) = (counted(), counted());
    for (_, buckets) in &mut whole.distributions {
        buckets.insert(7);
    }
    whole.undated += 1;
    whole.by_key.keys.insert(Key([9, 9, 9]), few(&[8]));
    whole.by_key.rest = Rest { keys: 3, count: 4 };
    let second = whole.since(&first);
    assert!(second.distributions.iter().all(|(_, buckets)| buckets.count() == 1 && buckets.sum() == 7));
    assert_eq!((second.undated, second.no_room), (1, 0));
    assert_eq!(second.by_key.rest, Rest { keys: 3, count: 4 });
    let top = second.top(ByArg::Process, 1);
    assert_eq!((top.shown.len(), top.others), (1, (3, 4)));
    assert_eq!(second.by_key.keys.into_iter().collect::<Vec<_>>(), [(Key([9, 9, 9]), few(&[8]))]);
    assert!(whole.since(&whole).is_empty() && !first.is_empty());
    assert_eq!(first.since(&Counted::default()), first, "extremes are exact where all is told at once");
}

#[test]
fn the_table_is_aligned_and_says_what_is_left_out() {
    let mut out = Vec::new();
    let mut format = TextFormat::new(&mut out, Style::Plain, OneCgroup);
    format.block(&block(counted(), Some(ByArg::Cgroup), 1)).expect("writing to memory");
    format.block(&block(Counted::default(), None, 1)).expect("writing to memory");
    let text = String::from_utf8(out).expect("UTF-8");
    for part in [
        "TIME_WAIT, expired                         2      61.000 s",
        "3 more left TIME_WAIT, but when they had entered it is only worked out",
        "Time in TIME_WAIT of 16 sockets:",
        "TIME_WAIT BY CGROUP",
        "3 under 2 more keys",
        "2 under no key",
        "nothing to count\n67 sockets are in TIME_WAIT; their times are counted when they end",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    assert!(index(61 * SECOND) < index(63 * SECOND), "the bars of a minute are two seconds wide");
}
