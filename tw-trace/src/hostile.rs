//! Every parser of what others wrote, each with all that is then done with its result: whatever the bytes, it ends without
//! a panic, and nothing that could steer a terminal comes out. The fuzz targets and tests/hostile.rs call these.

use clap::Parser as _;

use crate::{
    cli::{Cli, Command},
    cmd::{
        model::{self, json, lines, text},
        wheel::saved,
    },
    escape, filter,
    input::Lines,
    kernel::{
        btf::Btf,
        btf_file,
        facts::{FUNCTIONS, TRACE_EVENTS},
        kallsyms, memory, mounts,
        netns::Counters,
        offsets::resolve_offsets,
        totals,
    },
    sink::Style,
};

/// A parser under attack.
pub type Parser = fn(&[u8]);

/// All of them, by name.
pub const PARSERS: &[(&str, Parser)] = &[
    ("btf", btf),
    ("cgroup", cgroup),
    ("compare", compare),
    ("counters", counters),
    ("filters", filters),
    ("from", from),
    ("kallsyms", symbols),
    ("mountinfo", mountinfo),
];

/// `--btf FILE`.
pub fn btf(bytes: &[u8]) {
    let bytes = btf_file::types_of_elf(bytes).unwrap_or(bytes);
    let Ok(btf) = Btf::parse(bytes) else { return };
    let _ = (resolve_offsets(&btf), btf.is_split());
    for name in ["a", "ab", "sock"] {
        let _ = (btf.offset_of(name, "a"), btf.offset_of(name, "a.b"), btf.type_size(name));
    }
    for name in FUNCTIONS {
        let _ = (btf.function_params(name), btf.renamed(name).count());
    }
    for name in TRACE_EVENTS {
        let _ = btf.trace_event_params(name);
    }
}

/// /proc/self/cgroup and /proc/meminfo.
pub fn cgroup(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (mountinfo, own) = text.split_once("\n\n").unwrap_or((&text, &text));
    let _ = (memory::machine(&text), memory::folders(mountinfo, own));
}

/// `model --compare FILE`.
pub fn compare(bytes: &[u8]) {
    let Ok(measured) = lines::read(Lines::new(bytes), lines::Header::Replaced) else { return };
    for line in ["tw-trace model --kernel 6.12 --hz 250 --rate 10", "tw-trace model"] {
        let Ok(Cli { command: Command::Model(args), .. }) = Cli::try_parse_from(line.split(' ')) else {
            continue;
        };
        if let Ok(report) = model::report(&args, Some(&measured)) {
            assert_plain(&escape::lines(&text::text(&report)));
            let _ = escape::json(&json::value(&report));
        }
    }
}

/// /proc/net/netstat and sockstat, and a program's fdinfo.
pub fn counters(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let _ = Counters::parse(&text, &text);
    let _ = totals::recursion_misses(&text);
}

/// The arguments of filters and sizes, a word each.
pub fn filters(bytes: &[u8]) {
    let given = String::from_utf8_lossy(bytes);
    let words: Vec<_> = given.split('\n').filter(|word| !word.contains('\0')).take(8).collect();
    for option in ["--local", "--remote", "--port", "--pid", "--comm", "--state", "--ring-size", "--duration"]
    {
        for word in &words {
            let option = format!("{option}={word}");
            if let Ok(Cli { command: Command::Trace(args), .. }) =
                Cli::try_parse_from(["tw-trace", "trace", &option])
            {
                let _ = filter::resolve(&args.filters, None, None);
            }
        }
    }
}

/// `wheel --from FILE`.
pub fn from(bytes: &[u8]) {
    if let Ok(drawn) = saved::draw_all(Lines::new(bytes), Style::Plain, true) {
        assert_plain(&String::from_utf8_lossy(&drawn));
    }
}

/// /proc/kallsyms.
pub fn symbols(bytes: &[u8]) {
    if let Ok(symbols) = kallsyms::find(bytes, &["a", "tcp_abort", "_etext"]) {
        assert!(symbols.iter().all(|symbol| symbol.start <= symbol.end));
        let _ = (symbols.function("tcp_abort"), symbols.pointer("tcp_abort"));
    }
}

/// /proc/self/mountinfo.
pub fn mountinfo(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let _ = (mounts::of_type(&text, "nsfs"), mounts::of_type(&text, "cgroup2"));
}

/// The only control characters are the line ends.
fn assert_plain(text: &str) {
    assert!(text.chars().all(|character| character == '\n' || escape::is_plain(character)), "{text:?}");
}
