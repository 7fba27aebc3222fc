//! `--btf FILE`: the kernel's types from a file, held against those that the running kernel has.

use std::{
    fs::{self, File},
    io,
    ops::Range,
    os::unix::fs::FileExt as _,
    path::Path,
};

use object::{
    Endianness,
    elf::FileHeader64,
    read::{
        ReadCache, ReadRef,
        elf::{FileHeader as _, SectionHeader as _},
    },
};
use tw_trace_common::fields::FIELDS;

use super::{
    btf::Btf,
    facts::{FUNCTIONS, TRACE_EVENTS, VMLINUX_BTF},
    plan,
};
use crate::{
    exit::Usage,
    input::{self, LARGEST},
};

const ELF: &[u8] = b"\x7fELF";
const WHERE: &str = "the BTF of the running kernel";

/// The types in this file. One that holds none, or those of another kernel, is refused.
pub fn read(path: &Path) -> Result<Vec<u8>, Usage> {
    let wrong = |why: String| {
        Usage(format!(
            "--btf {}: {why}; give {WHERE}, or leave the option out to use {VMLINUX_BTF}",
            path.display()
        ))
    };
    let bytes = types_in(path).map_err(|error| wrong(error.to_string()))?;
    let types = Btf::parse(&bytes).map_err(|error| wrong(error.to_string()))?;
    if types.is_split() {
        let why = "it is the BTF of a module, which only continues that of its kernel (vmlinux)";
        return Err(wrong(why.to_owned()));
    }
    // A kernel whose own types are not to be had is taken at the user's word.
    if let Ok(own) = fs::read(VMLINUX_BTF)
        && let Ok(own) = Btf::parse(&own)
        && let Some(difference) = difference(&types, &own)
    {
        return Err(wrong(format!(
            "it is not of the kernel that runs here ({VMLINUX_BTF}): {difference}; programs would be attached to the wrong \
             functions and read the wrong fields, so nothing was attached"
        )));
    }
    Ok(bytes)
}

/// The BTF that is the file, or its section .BTF.
fn types_in(path: &Path) -> io::Result<Vec<u8>> {
    let file = input::open(path)?;
    let mut head = [0; ELF.len()];
    // A pipe has no places.
    if file.read_exact_at(&mut head, 0).is_ok() && head == ELF {
        let cache = ReadCache::new(file);
        return section(Bounded(&cache)).map(<[u8]>::to_vec);
    }
    let bytes = input::read_whole(file)?;
    if bytes.starts_with(ELF) { types_of_elf(&bytes).map(<[u8]>::to_vec) } else { Ok(bytes) }
}

/// The types in the bytes of an ELF file.
pub fn types_of_elf(elf: &[u8]) -> io::Result<&[u8]> {
    section(elf)
}

/// The section .BTF of a vmlinux.
fn section<'a, R: ReadRef<'a>>(elf: R) -> io::Result<&'a [u8]> {
    let wrong = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
    let damaged =
        |error: object::read::Error| wrong(&format!("it is an ELF file that cannot be read: {error}"));
    let header = FileHeader64::<Endianness>::parse(elf).map_err(damaged)?;
    let endian = header.endian().map_err(damaged)?;
    let sections = header.sections(endian, elf).map_err(damaged)?;
    let Some((_, section)) = sections.section_by_name(endian, b".BTF") else {
        return Err(wrong("it is an ELF file without types: it has no section .BTF (CONFIG_DEBUG_INFO_BTF)"));
    };
    section.data(endian, elf).map_err(damaged)
}

/// Reads of an ELF file, none of them larger than any file that is read whole.
#[derive(Clone, Copy)]
struct Bounded<'a>(&'a ReadCache<File>);

impl<'a> ReadRef<'a> for Bounded<'a> {
    fn len(self) -> Result<u64, ()> {
        self.0.len()
    }

    fn read_bytes_at(self, offset: u64, size: u64) -> Result<&'a [u8], ()> {
        if size > LARGEST { Err(()) } else { self.0.read_bytes_at(offset, size) }
    }

    fn read_bytes_at_until(self, range: Range<u64>, delimiter: u8) -> Result<&'a [u8], ()> {
        self.0.read_bytes_at_until(range, delimiter)
    }
}

/// What of that which tw-trace relies on is another in the running kernel: fields by place and size, functions and trace
/// events by their arguments and by the number of their type, which is how the kernel is told what to attach to.
fn difference(given: &Btf<'_>, own: &Btf<'_>) -> Option<String> {
    let mut different = Vec::new();
    for field in FIELDS {
        let place = |btf: &Btf<'_>| btf.offset_of(field.of, field.path).ok();
        if place(given) != place(own) {
            different.push(format!("{}.{}", field.of, field.path));
        }
    }
    let functions = FUNCTIONS.iter().filter(|name| given.function_params(name) != own.function_params(name));
    let events =
        TRACE_EVENTS.iter().filter(|name| given.trace_event_params(name) != own.trace_event_params(name));
    different.extend(functions.chain(events).map(|name| (*name).to_owned()));
    let attached_by = plan::attach_types();
    different.extend(attached_by.into_iter().filter(|name| given.numbers(name) != own.numbers(name)));
    let (first, rest) = different.split_first()?;
    let others = match rest.len() {
        0 => String::new(),
        more => format!(", and {more} more that tw-trace relies on"),
    };
    Some(format!("{first} is another{others}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::btf::tests::{Blob, fields_blob};
    use object::write::Object;

    fn differs(given: &[u8], own: &[u8]) -> Option<String> {
        difference(&Btf::parse(given).unwrap(), &Btf::parse(own).unwrap())
    }

    #[test]
    fn the_same_types_do_not_differ() {
        let (blob, _) = fields_blob(|_| true);
        assert_eq!(differs(&blob, &blob), None);
        let kernels = |kernel: &str| {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kernels").join(kernel);
            fs::read(folder.join("btf")).unwrap()
        };
        assert_eq!(differs(&kernels("6.12-x86_64"), &kernels("6.12-x86_64")), None);
        let other = differs(&kernels("6.1-x86_64"), &kernels("6.12-x86_64")).unwrap();
        assert!(other.contains(" is another, and ") && other.contains("relies on"), "{other}");
    }

    #[test]
    fn a_type_of_another_number_differs() {
        let with = |before: u32| {
            let mut blob = Blob::new();
            for _ in 0..before {
                blob.int("u32", 4);
            }
            blob.trace_event("timer_start", 2);
            blob.func("inet_twsk_kill", 1);
            blob.bytes()
        };
        assert_eq!(differs(&with(1), &with(1)), None);
        let moved = differs(&with(1), &with(2)).unwrap();
        assert!(moved.starts_with("btf_trace_timer_start is another"), "{moved}");
        let mut other = Blob::new();
        other.int("u32", 4);
        other.trace_event("timer_start", 3);
        other.func("inet_twsk_kill", 1);
        assert_eq!(differs(&other.bytes(), &with(1)), Some("timer_start is another".to_owned()));
    }

    fn elf(section: &[u8], content: &[u8]) -> Vec<u8> {
        let (format, architecture) = (object::BinaryFormat::Elf, object::Architecture::X86_64);
        let mut elf = Object::new(format, architecture, Endianness::Little);
        let id = elf.add_section(Vec::new(), section.to_vec(), object::SectionKind::ReadOnlyData);
        elf.append_section_data(id, content, 1);
        elf.write().unwrap()
    }

    #[test]
    fn the_types_of_an_elf_file_are_its_section() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vmlinux");
        fs::write(&path, elf(b".BTF", b"the types")).unwrap();
        assert_eq!(types_in(&path).unwrap(), b"the types");
        fs::write(&path, elf(b".BTF.ext", b"others")).unwrap();
        assert!(types_in(&path).unwrap_err().to_string().contains("no section .BTF"));
        fs::write(&path, &elf(b".BTF", b"the types")[..100]).unwrap();
        assert!(types_in(&path).unwrap_err().to_string().contains("cannot be read"));
        fs::write(&path, b"types").unwrap();
        assert_eq!(types_in(&path).unwrap(), b"types");
    }

    #[test]
    fn a_damaged_elf_file_ends_in_an_error() {
        let whole = elf(b".BTF", b"the types");
        for at in 0..whole.len() {
            for value in [0, 0x7f, 0xff] {
                let mut damaged = whole.clone();
                damaged[at] = value;
                let _ = types_of_elf(&damaged);
            }
        }
    }

    #[test]
    fn types_of_a_module_are_refused_by_name() {
        let mut blob = Blob::new();
        blob.func("f", 1);
        let mut bytes = blob.bytes();
        // The name of the second type is far behind the strings, where those of vmlinux would end.
        bytes[24 + 20..][..4].copy_from_slice(&0x10_0000u32.to_le_bytes());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("module");
        fs::write(&path, bytes).unwrap();
        let said = read(&path).unwrap_err().to_string();
        assert!(said.contains("of a module") && said.contains(VMLINUX_BTF), "{said}");
    }
}
