//! Distributions as JSON lines, as docs/hist.schema.json has them.

use std::io;

use serde_json::{Map, Value, json};
use tw_trace_common::histogram::Series;

use super::{
    counted::{Block, Top},
    view::Format,
};
use crate::{
    buckets::Buckets,
    cli::ByArg,
    decode::Record,
    header::Header,
    sink::{CgroupNames, Sink as _, json::Json, json_buckets},
    summary::Summary,
};

pub(super) struct JsonFormat<W, N> {
    json: Json<W, N>,
}

impl<W: io::Write, N: CgroupNames> JsonFormat<W, N> {
    pub(super) const fn new(json: Json<W, N>) -> Self {
        Self { json }
    }
}

impl<W: io::Write, N: CgroupNames> Format for JsonFormat<W, N> {
    fn header(&mut self, header: &Header) -> io::Result<()> {
        self.json.header(header)
    }

    fn block(&mut self, block: &Block) -> io::Result<()> {
        let keys = keys(block, self.json.cgroups());
        self.json.line("hist", block.mono_ns, &keys)?;
        self.json.flush()
    }

    fn record(&mut self, record: &Record) -> io::Result<()> {
        self.json.record(record)
    }

    fn summary(&mut self, summary: &Summary) -> io::Result<()> {
        self.json.summary(summary)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.json.flush()
    }

    fn wall_clock(&mut self, realtime_offset_ns: i64) {
        self.json.wall_clock(realtime_offset_ns);
    }

    fn cgroups_seen(&mut self, ids: &[u64]) {
        self.json.cgroups_seen(ids);
    }
}

fn keys(block: &Block, cgroups: &mut dyn CgroupNames) -> Map<String, Value> {
    let counted = &block.counted;
    let distributions: Vec<Value> = counted.filled().map(|(of, buckets)| distribution(of, buckets)).collect();
    let by: Vec<Value> = block
        .by
        .iter()
        .flat_map(|top| &top.shown)
        .map(|(name, buckets)| merged(name.json(cgroups), buckets))
        .collect();
    let others = |top: &Top| json!({"keys": top.others.0, "count": top.others.1, "no_room": counted.no_room});
    let keys = [
        ("interval_ns", json!(block.interval_ns)),
        ("distributions", Value::Array(distributions)),
        ("undated", json!(counted.undated)),
        ("by_key", json!(block.by.as_ref().map(|top| by_name(top.by)))),
        ("by", Value::Array(by)),
        ("by_others", block.by.as_ref().map_or(Value::Null, others)),
    ];
    keys.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn distribution(of: Series, buckets: &Buckets) -> Value {
    let name = match of {
        Series::TimeWait(reason) => vec![("of", "time_wait"), ("reason", reason.name())],
        Series::FinWait2 => vec![("of", "fin_wait2")],
        Series::Lateness => vec![("of", "lateness")],
        Series::Dwell(state) => vec![("of", "dwell"), ("state", state.name())],
        // The wheel's.
        Series::Rounding | Series::Overshoot | Series::BurstTimers | Series::BurstTime => Vec::new(),
    };
    merged(name.into_iter().map(|(key, value)| (key.to_owned(), json!(value))).collect(), buckets)
}

fn merged(mut name: Map<String, Value>, buckets: &Buckets) -> Value {
    name.extend(json_buckets::keys(buckets));
    Value::Object(name)
}

/// As on the command line, written as keys are.
pub(super) const fn by_name(by: ByArg) -> &'static str {
    match by {
        ByArg::Process => "process",
        ByArg::Cgroup => "cgroup",
        ByArg::Remote => "remote",
        ByArg::RemoteAddress => "remote_address",
        ByArg::LocalPort => "local_port",
        ByArg::Reason => "reason",
    }
}
