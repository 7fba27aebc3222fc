//! Hand-made BTF, and what the reader makes of it.

use tw_trace_common::fields::{ABSENT, FIELDS, Field};

use super::*;
use crate::skip::skip;

/// Builds BTF type by type; every method gives the new type's id.
#[derive(Default)]
pub(crate) struct Blob {
    types: Vec<u8>,
    strings: Vec<u8>,
    layout: Option<Vec<u8>>,
    next: u32,
}

impl Blob {
    pub(crate) fn new() -> Self {
        Self { strings: vec![0], next: 1, ..Self::default() }
    }

    fn name(&mut self, name: &str) -> u32 {
        if name.is_empty() {
            return 0;
        }
        let at = self.strings.len() as u32;
        self.strings.extend_from_slice(name.as_bytes());
        self.strings.push(0);
        at
    }

    fn raw(&mut self, name: &str, info: u32, size_or_type: u32, words: &[u32]) -> u32 {
        let name = self.name(name);
        for word in [name, info, size_or_type].iter().chain(words) {
            self.types.extend_from_slice(&word.to_le_bytes());
        }
        self.next += 1;
        self.next - 1
    }

    pub(crate) fn int(&mut self, name: &str, size: u32) -> u32 {
        self.raw(name, 1 << 24, size, &[size * 8])
    }

    /// Typedef, pointer, const and the like.
    pub(crate) fn refer(&mut self, kind: u8, name: &str, to: u32) -> u32 {
        self.raw(name, u32::from(kind) << 24, to, &[])
    }

    pub(crate) fn array(&mut self, of: u32, count: u32) -> u32 {
        self.raw("", 3 << 24, 0, &[of, of, count])
    }

    /// Members are name, type, offset in bits.
    fn composite(&mut self, kind: u8, flag: u32, name: &str, size: u32, members: &[(&str, u32, u32)]) -> u32 {
        let mut words = Vec::new();
        for (member, ty, bits) in members {
            words.extend([self.name(member), *ty, *bits]);
        }
        self.raw(name, flag << 31 | u32::from(kind) << 24 | members.len() as u32, size, &words)
    }

    pub(crate) fn strukt(&mut self, name: &str, size: u32, members: &[(&str, u32, u32)]) -> u32 {
        self.composite(kind::STRUCT, 0, name, size, members)
    }

    fn union(&mut self, name: &str, size: u32, members: &[(&str, u32, u32)]) -> u32 {
        self.composite(kind::UNION, 0, name, size, members)
    }

    pub(crate) fn func(&mut self, name: &str, params: u32) -> u32 {
        let proto = self.proto(params);
        self.refer(kind::FUNC, name, proto)
    }

    fn proto(&mut self, params: u32) -> u32 {
        self.raw("", 13 << 24 | params, 0, &vec![0; params as usize * 2])
    }

    /// A trace event whose programs get this many arguments.
    pub(crate) fn trace_event(&mut self, name: &str, args: u32) {
        let proto = self.proto(args + 1);
        let pointer = self.refer(kind::PTR, "", proto);
        self.refer(kind::TYPEDEF, &format!("btf_trace_{name}"), pointer);
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let layout = self.layout.as_deref().unwrap_or(&[]);
        let (types, strings) = (self.types.len() as u32, self.strings.len() as u32);
        let mut bytes = vec![0x9f, 0xeb, 1, 0];
        let header = if self.layout.is_some() { 32u32 } else { 24 };
        for word in [header, 0, types, types, strings, types + strings, layout.len() as u32] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes.truncate(header as usize);
        bytes.extend([&self.types, &self.strings, layout].into_iter().flatten());
        bytes
    }
}

/// All FIELDS that `keep` takes, at made-up offsets, with the offsets in their order.
pub(crate) fn fields_blob(keep: impl Fn(&Field) -> bool) -> (Vec<u8>, [u16; FIELDS.len()]) {
    let mut blob = Blob::new();
    let mut expected = [ABSENT; FIELDS.len()];
    let mut structs: Vec<&str> = FIELDS.iter().map(|field| field.of).collect();
    structs.dedup();
    for strukt in structs {
        let mut members = Vec::new();
        for (index, field) in FIELDS.iter().enumerate().filter(|(_, f)| f.of == strukt && keep(f)) {
            let at = 64 * (members.len() as u16 + 1);
            let byte = blob.int("u8", 1);
            let mut ty = blob.array(byte, u32::from(field.size));
            let mut parts: Vec<&str> = field.path.split('.').collect();
            let outer = parts.remove(0);
            for part in parts.into_iter().rev() {
                ty = blob.strukt("", u32::from(field.size) + 4, &[(part, ty, 32)]);
                expected[index] = at + 4;
            }
            if expected[index] == ABSENT {
                expected[index] = at;
            }
            members.push((outer, ty, u32::from(at) * 8));
        }
        blob.strukt(strukt, 4096, &members);
    }
    (blob.bytes(), expected)
}

/// `struct outer { int a; union { struct { volatile u16_t b; char c[3]; }; void *d; }; struct inner in; }`
fn sample() -> Blob {
    let mut blob = Blob::new();
    let int = blob.int("int", 4);
    let short = blob.int("u16", 2);
    let byte = blob.int("char", 1);
    let alias = blob.refer(kind::TYPEDEF, "u16_t", short);
    let volatile = blob.refer(kind::VOLATILE, "", alias);
    let chars = blob.array(byte, 3);
    let anonymous = blob.strukt("", 8, &[("b", volatile, 0), ("c", chars, 16)]);
    let pointer = blob.refer(kind::PTR, "", 0);
    let union = blob.union("", 8, &[("", anonymous, 0), ("d", pointer, 0)]);
    let inner = blob.strukt("inner", 8, &[("x", int, 0), ("y", int, 32)]);
    let inner_alias = blob.refer(kind::TYPEDEF, "inner_t", inner);
    blob.strukt("outer", 32, &[("a", int, 0), ("", union, 64), ("in", inner_alias, 128)]);
    blob.composite(kind::STRUCT, 1, "bits", 8, &[("plain", int, 0), ("three", int, 3 << 24 | 32)]);
    blob.func("tcp_thing", 3);
    blob.trace_event("timer_start", 2);
    blob
}

fn at(offset_bytes: u32, size: u64) -> MemberOffset {
    MemberOffset { offset_bytes, size }
}

#[test]
fn members_are_found_through_anonymous_and_nested_types() {
    let bytes = sample().bytes();
    let btf = Btf::parse(&bytes).unwrap();
    for (path, expected) in [
        ("a", at(0, 4)),
        ("b", at(8, 2)),
        ("c", at(10, 3)),
        ("d", at(8, 8)),
        ("in.y", at(20, 4)),
        ("in", at(16, 8)),
    ] {
        assert_eq!(btf.offset_of("outer", path), Ok(expected), "{path}");
    }
    assert_eq!(btf.offset_of("bits", "plain"), Ok(at(0, 4)));
    assert_eq!(btf.type_size("outer"), Some(32));
    assert_eq!(btf.type_size("nothing"), None);
}

#[test]
fn what_is_not_there_is_named() {
    let bytes = sample().bytes();
    let btf = Btf::parse(&bytes).unwrap();
    let error = |strukt: &str, path: &str| btf.offset_of(strukt, path).unwrap_err().to_string();
    assert!(btf.has_member("bits", "three") && btf.has_member("outer", "in.y"));
    assert!(!btf.has_member("bits", "four") && !btf.has_member("sock", "a"));
    assert_eq!(error("bits", "three"), "member three of struct bits is a bitfield");
    assert_eq!(error("sock", "a"), "BTF has no struct sock");
    assert_eq!(error("outer", "z"), "struct outer has no member z");
    assert_eq!(error("outer", "a.b"), "member a is no struct");
    assert_eq!(error("outer", ""), "struct outer has no member ");
    assert_eq!(error("u16_t", "a"), "BTF has no struct u16_t");
}

#[test]
fn an_old_style_bitfield_is_seen_by_its_integer_type() {
    let mut blob = Blob::new();
    let three = blob.raw("int", 1 << 24, 4, &[3]);
    blob.strukt("old", 4, &[("three", three, 0)]);
    let bytes = blob.bytes();
    assert!(matches!(
        Btf::parse(&bytes).unwrap().offset_of("old", "three"),
        Err(LookupError::Bitfield { .. })
    ));
}

#[test]
fn two_structs_of_one_name_must_agree() {
    let mut blob = Blob::new();
    let int = blob.int("int", 4);
    blob.strukt("twin", 8, &[("same", int, 0), ("other", int, 32)]);
    blob.strukt("twin", 16, &[("same", int, 0), ("other", int, 64)]);
    let bytes = blob.bytes();
    let btf = Btf::parse(&bytes).unwrap();
    assert_eq!(btf.offset_of("twin", "same"), Ok(at(0, 4)));
    assert!(matches!(btf.offset_of("twin", "other"), Err(LookupError::Ambiguous { .. })));
}

#[test]
fn functions_and_trace_events_tell_their_parameters() {
    let bytes = sample().bytes();
    let btf = Btf::parse(&bytes).unwrap();
    assert!(btf.has_function("tcp_thing") && !btf.has_function("outer") && !btf.has_function("tcp_thin"));
    assert_eq!(btf.function_params("tcp_thing"), Some(3));
    assert_eq!(btf.trace_event_params("timer_start"), Some(2));
    assert_eq!(btf.trace_event_params("timer_cancel"), None);
}

#[test]
fn damaged_data_is_an_error_not_a_panic() {
    let good = sample().bytes();
    let patched = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        Btf::parse(&bytes).err()
    };
    assert_eq!(Btf::parse(&[]).err(), Some(BtfError::TooShort));
    assert_eq!(patched(0, 0), Some(BtfError::Magic(0xeb00)));
    assert_eq!(patched(2, 2), Some(BtfError::Version(2)));
    assert_eq!(patched(15, 0xff), Some(BtfError::Section("type")));
    assert_eq!(patched(good.len() - 1, b'x'), Some(BtfError::Section("string")));
    assert_eq!(patched(24 + 7, 99), Some(BtfError::Kind { id: 1, kind: 99 }));
    assert_eq!(patched(24 + 7, 0), Some(BtfError::Kind { id: 1, kind: 0 }));
    let mut swapped = good.clone();
    swapped.swap(0, 1);
    assert_eq!(Btf::parse(&swapped).err(), Some(BtfError::BigEndian));
    for len in 0..good.len() {
        assert!(Btf::parse(&good[..len]).is_err(), "cut off at {len}");
    }
}

#[test]
fn cycles_and_endless_nesting_end() {
    let mut blob = Blob::new();
    let cycle = blob.next;
    blob.refer(kind::TYPEDEF, "snake", cycle);
    blob.strukt("cyclic", 8, &[("tail", cycle, 0), ("", cycle, 0)]);
    let own = blob.next;
    blob.strukt("russian_doll", 8, &[("", own, 0), ("", own, 0)]);
    let array = blob.next;
    blob.array(array, 2);
    blob.strukt("arrays", 8, &[("a", array, 0)]);
    let bytes = blob.bytes();
    let btf = Btf::parse(&bytes).unwrap();
    for (strukt, path) in [("cyclic", "tail"), ("cyclic", "x"), ("russian_doll", "x"), ("arrays", "a")] {
        let error = btf.offset_of(strukt, path).unwrap_err();
        assert!(matches!(error, LookupError::TooComplex { .. }), "{strukt}.{path}: {error}");
    }
}

#[test]
fn a_kind_newer_than_us_is_skipped_with_the_layout_section() {
    let mut blob = Blob::new();
    blob.raw("future", 20 << 24 | 2, 0, &[1, 2, 3, 4, 5]);
    let int = blob.int("int", 4);
    blob.strukt("after", 4, &[("x", int, 0)]);
    assert_eq!(Btf::parse(&blob.bytes()).err(), Some(BtfError::Kind { id: 1, kind: 20 }));
    let mut layout = vec![0; 21 * 4];
    layout[80..82].copy_from_slice(&[4, 8]);
    blob.layout = Some(layout);
    let bytes = blob.bytes();
    assert_eq!(Btf::parse(&bytes).unwrap().offset_of("after", "x"), Ok(at(0, 4)));
}

#[test]
fn what_is_kept_keeps_its_id_and_the_loader_reads_it() {
    let names: Vec<String> = ["do_it", "btf_trace_it"].map(str::to_owned).to_vec();
    let mut blob = Blob::new();
    let int = blob.int("int", 4);
    let other = blob.refer(kind::TYPEDEF, "other", int);
    let event = blob.refer(kind::TYPEDEF, "btf_trace_it", other);
    blob.refer(kind::PTR, "", event);
    let function = blob.refer(kind::FUNC, "do_it", other);
    blob.int("behind", 4);
    let whole = blob.bytes();
    let pruned = Btf::parse(&whole).unwrap().pruned(&names);
    assert!(pruned.len() < whole.len() + names.iter().map(String::len).sum::<usize>());
    let read = Btf::parse(&pruned).unwrap();
    let ids = |name| read.named(name, |_| true).map(|ty| ty.id).collect::<Vec<_>>();
    assert_eq!([ids("do_it"), ids("btf_trace_it"), ids("other")], [vec![function], vec![event], vec![]]);
    assert_eq!(read.starts.len(), function as usize + 1);
    let loader = aya::Btf::parse(&pruned, aya::Endianness::Little).unwrap();
    assert!(format!("{loader:?}").len() > 100);
}

/// The running kernel, where it has BTF: against the well-known head of `struct sock_common`.
#[test]
fn the_running_kernels_btf_resolves() {
    let bytes = match std::fs::read("/sys/kernel/btf/vmlinux") {
        Ok(bytes) => bytes,
        Err(why) => {
            return skip("the_running_kernels_btf_resolves", format!("/sys/kernel/btf/vmlinux: {why}"));
        }
    };
    let btf = Btf::parse(&bytes).unwrap();
    assert_eq!(btf.offset_of("sock_common", "skc_daddr"), Ok(at(0, 4)));
    assert_eq!(btf.offset_of("sock_common", "skc_rcv_saddr"), Ok(at(4, 4)));
    assert_eq!(btf.function_params("tcp_set_state"), Some(2));
    assert_eq!(btf.trace_event_params("inet_sock_set_state"), Some(3));
    let error = btf.offset_of("inet_timewait_sock", "tw_transparent").unwrap_err();
    assert!(matches!(error, LookupError::Bitfield { .. }), "{error}");
}

#[test]
fn functions_whose_names_were_made_unique_are_found_by_the_name_in_the_source() {
    let mut blob = Blob::new();
    blob.func("f.llvm.12", 1);
    let exact = blob.func("f", 2);
    blob.func("f.cold", 3);
    blob.func("ff.llvm.12", 4);
    let bytes = blob.bytes();
    let btf = Btf::parse(&bytes).unwrap();
    assert_eq!(btf.renamed("f").collect::<Vec<_>>(), [("f.llvm.12", 1)]);
    assert_eq!((btf.function_params("f"), btf.function_params("f.llvm.12")), (Some(2), Some(1)));
    let pruned = btf.pruned(&["f".to_owned()]);
    let pruned = Btf::parse(&pruned).unwrap();
    assert!(pruned.has_function("f.llvm.12") && pruned.has_function("f") && !pruned.has_function("f.cold"));
    assert_eq!(pruned.starts.len() as u32, exact + 1, "every type keeps its number");
}
