//! Any bytes are a record or a refusal, and every record can be collected and printed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tw_trace::audit::Audit;
use tw_trace::collector::{Collector, KernelTotals};
use tw_trace::decode::decode;
use tw_trace::header::Header;
use tw_trace::sink::json::Json;
use tw_trace::sink::text::Text;
use tw_trace::sink::{CgroupNames, Sink, Style};

const TICK_NS: u64 = 4_000_000;

struct NoCgroupNames;

impl CgroupNames for NoCgroupNames {
    fn path(&mut self, _: u64) -> Option<&str> {
        None
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Ok(record) = decode(bytes) else { return };
    assert_eq!(bytes.len(), record.kind().size());
    let header = Header { tick_ns: TICK_NS, ..Header::default() };
    let (mut json, mut text) = (Vec::new(), Vec::new());
    let mut collector = Collector::new(TICK_NS);
    collector.observe(&record);
    let summary = collector.finish(&KernelTotals::default(), Audit::default());
    let mut sinks: [Box<dyn Sink>; 2] =
        [Box::new(Json::new(&mut json, NoCgroupNames)), Box::new(Text::new(&mut text, Style::Plain))];
    for sink in &mut sinks {
        sink.header(&header).expect("writing to memory");
        sink.record(&record).expect("writing to memory");
        sink.summary(&summary).expect("writing to memory");
    }
    drop(sinks);
    for line in json.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
        serde_json::from_slice::<serde_json::Value>(line).expect("each line is JSON");
    }
    // The only control characters are the line ends: nothing in a record can steer a terminal.
    let text = String::from_utf8(text).expect("UTF-8");
    assert!(text.chars().all(|character| character == '\n' || !character.is_control()));
});
