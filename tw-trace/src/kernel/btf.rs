//! A small reader of BTF for what tw-trace asks of it: member offsets, and which functions and trace events exist.
//!
//! BTF is input like any other (`--btf FILE`): every read is bounds-checked, every walk has a budget.
//! Layout: include/uapi/linux/btf.h, read in 5.10 – 7.2.

use std::fmt;

use super::function_name::ends_name;

mod lookup;
mod pruned;
#[cfg(test)]
pub(crate) mod tests;

pub use lookup::{LookupError, MemberOffset};

const MAGIC: u16 = 0xeb9f;
/// Header up to and including `str_len`; 7.2 appends the layout section's place.
const HEADER_LEN: usize = 24;
const HEADER_LEN_WITH_LAYOUT: usize = 32;
/// `struct btf_type`.
const TYPE_LEN: usize = 12;
/// vmlinux has about 150,000 types; the kernel's own limit, `BTF_MAX_TYPE`, is 0xfffff.
const MAX_TYPES: usize = 0x10_0000;

/// The kinds that are looked into; others are only skipped.
pub(crate) mod kind {
    pub(crate) const INT: u8 = 1;
    pub(crate) const PTR: u8 = 2;
    pub(crate) const ARRAY: u8 = 3;
    pub(crate) const STRUCT: u8 = 4;
    pub(crate) const UNION: u8 = 5;
    pub(crate) const ENUM: u8 = 6;
    pub(crate) const TYPEDEF: u8 = 8;
    pub(crate) const VOLATILE: u8 = 9;
    pub(crate) const CONST: u8 = 10;
    pub(crate) const RESTRICT: u8 = 11;
    pub(crate) const FUNC: u8 = 12;
    pub(crate) const FUNC_PROTO: u8 = 13;
    pub(crate) const DATASEC: u8 = 15;
    pub(crate) const FLOAT: u8 = 16;
    pub(crate) const TYPE_TAG: u8 = 18;
    pub(crate) const ENUM64: u8 = 19;
}

/// Bytes that follow `struct btf_type`: once, and per element of `vlen`. By kind 0 – 19.
const KIND_LAYOUT: [(u8, u8); 20] = [
    (0, 0),  // void, never written
    (4, 0),  // int
    (0, 0),  // ptr
    (12, 0), // array
    (0, 12), // struct
    (0, 12), // union
    (0, 8),  // enum
    (0, 0),  // fwd
    (0, 0),  // typedef
    (0, 0),  // volatile
    (0, 0),  // const
    (0, 0),  // restrict
    (0, 0),  // func
    (0, 8),  // func_proto
    (4, 0),  // var
    (0, 12), // datasec
    (0, 0),  // float, 5.13
    (4, 0),  // decl_tag, 5.16
    (0, 0),  // type_tag, 5.17
    (0, 12), // enum64, 6.0
];

/// Why bytes are not BTF that can be read here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BtfError {
    TooShort,
    BigEndian,
    Magic(u16),
    Version(u8),
    /// A section, named, does not lie within the data.
    Section(&'static str),
    TooManyTypes,
    /// A type runs over the end of the type section.
    Truncated {
        id: u32,
    },
    /// A kind that neither tw-trace knows nor the layout section describes.
    Kind {
        id: u32,
        kind: u8,
    },
}

impl fmt::Display for BtfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooShort => write!(f, "BTF is shorter than its header"),
            Self::BigEndian => {
                write!(f, "BTF is of a big-endian kernel, tw-trace reads little-endian ones only")
            }
            Self::Magic(magic) => write!(f, "not BTF: it begins with {magic:#06x} instead of {MAGIC:#06x}"),
            Self::Version(version) => write!(f, "BTF version {version}, only 1 is known"),
            Self::Section(name) => {
                write!(f, "BTF is damaged: its {name} section does not lie within the data")
            }
            Self::TooManyTypes => write!(f, "BTF is damaged: more than {MAX_TYPES} types"),
            Self::Truncated { id } => write!(f, "BTF is damaged: type {id} is cut off"),
            Self::Kind { id, kind } => write!(f, "BTF type {id} is of kind {kind}, newer than this tw-trace"),
        }
    }
}

impl std::error::Error for BtfError {}

/// Parsed BTF: where each type lies, and an index of the names that can be asked for.
pub struct Btf<'a> {
    types: &'a [u8],
    strings: &'a [u8],
    /// Where type `id` begins in `types`; id 0 is void.
    starts: Vec<u32>,
    /// `hash of name << 32 | id` of named structs, unions, typedefs and functions, sorted. The hash is of the name in the
    /// source, so that functions whose names the compiler made unique are found too.
    names: Vec<u64>,
}

/// One `struct btf_type`.
#[derive(Clone, Copy)]
struct Type {
    id: u32,
    name_off: u32,
    kind: u8,
    kind_flag: bool,
    /// Elements that follow.
    vlen: u32,
    /// Size in bytes or the id of a type, by kind.
    size_or_type: u32,
}

impl<'a> Btf<'a> {
    /// Checks the header and every type's bounds, and indexes the names.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BtfError> {
        let header = Header::parse(bytes)?;
        // Sizes measured on vmlinux: 24 bytes a type, four names in five asked-for kinds. Only a hint.
        let expected = (header.types.len() / 24).min(MAX_TYPES);
        let mut btf = Self {
            types: header.types,
            strings: header.strings,
            starts: Vec::with_capacity(expected),
            names: Vec::with_capacity(expected),
        };
        btf.starts.push(0);
        btf.index(header.layout)?;
        btf.names.sort_unstable();
        Ok(btf)
    }

    fn index(&mut self, layout: &[u8]) -> Result<(), BtfError> {
        let mut at = 0;
        while at < self.types.len() {
            let id = self.starts.len() as u32;
            if self.starts.len() > MAX_TYPES {
                return Err(BtfError::TooManyTypes);
            }
            let ty = read_type(self.types, at, id).ok_or(BtfError::Truncated { id })?;
            let (once, each) = kind_layout(ty.kind, layout).ok_or(BtfError::Kind { id, kind: ty.kind })?;
            let next = at + TYPE_LEN + usize::from(once) + ty.vlen as usize * usize::from(each);
            if next > self.types.len() {
                return Err(BtfError::Truncated { id });
            }
            if matches!(ty.kind, kind::STRUCT | kind::UNION | kind::TYPEDEF | kind::FUNC)
                && let Some(name) = self.string(ty.name_off)
                && !name.is_empty()
            {
                self.names.push(u64::from(hash(name)) << 32 | u64::from(id));
            }
            self.starts.push(at as u32);
            at = next;
        }
        Ok(())
    }

    /// Whether this only continues other types, as that of modules does: names then lie beyond its own strings.
    pub fn is_split(&self) -> bool {
        (1..self.starts.len() as u32)
            .filter_map(|id| self.get(id))
            .any(|ty| ty.name_off as usize >= self.strings.len())
    }

    /// The type of this id; `None` for void and for ids that do not exist.
    fn get(&self, id: u32) -> Option<Type> {
        if id == 0 {
            return None;
        }
        let start = *self.starts.get(id as usize)?;
        read_type(self.types, start as usize, id)
    }

    /// The types of this name that `wanted` takes.
    fn named<'b>(&'b self, name: &'b str, wanted: fn(u8) -> bool) -> impl Iterator<Item = Type> + 'b {
        self.hashed(name)
            .filter(move |ty| wanted(ty.kind) && self.string(ty.name_off) == Some(name.as_bytes()))
    }

    /// The types of this name and whatever else has its hash.
    fn hashed(&self, name: &str) -> impl Iterator<Item = Type> {
        let key = u64::from(hash(name.as_bytes())) << 32;
        let first = self.names.partition_point(|entry| *entry < key);
        self.names[first..]
            .iter()
            .take_while(move |entry| **entry >> 32 == key >> 32)
            .filter_map(|entry| self.get(*entry as u32))
    }

    /// The bytes of element `index` behind a type, of `each` bytes. In bounds by `index()`, checked again.
    fn element(&self, ty: Type, index: u32, each: usize) -> Option<&'a [u8]> {
        if index >= ty.vlen.max(1) {
            return None;
        }
        let start = *self.starts.get(ty.id as usize)? as usize + TYPE_LEN + index as usize * each;
        self.types.get(start..start + each)
    }

    fn string(&self, offset: u32) -> Option<&'a [u8]> {
        let rest = self.strings.get(offset as usize..)?;
        rest.split(|byte| *byte == 0).next()
    }
}

struct Header<'a> {
    types: &'a [u8],
    strings: &'a [u8],
    layout: &'a [u8],
}

impl<'a> Header<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, BtfError> {
        let head = bytes.get(..HEADER_LEN).ok_or(BtfError::TooShort)?;
        match u16::from_le_bytes([head[0], head[1]]) {
            MAGIC => {}
            swapped if swapped == MAGIC.swap_bytes() => return Err(BtfError::BigEndian),
            other => return Err(BtfError::Magic(other)),
        }
        if head[2] != 1 {
            return Err(BtfError::Version(head[2]));
        }
        let word = |at| le32(bytes, at).ok_or(BtfError::TooShort);
        let header_len = word(4)? as usize;
        if header_len < HEADER_LEN {
            return Err(BtfError::TooShort);
        }
        let body = bytes.get(header_len..).ok_or(BtfError::TooShort)?;
        let section = |name, at| -> Result<&'a [u8], BtfError> {
            let (offset, len) = (word(at)? as usize, word(at + 4)? as usize);
            let end = offset.checked_add(len).ok_or(BtfError::Section(name))?;
            body.get(offset..end).ok_or(BtfError::Section(name))
        };
        let strings = section("string", 16)?;
        // Every name then ends within the section.
        if strings.last().is_none_or(|last| *last != 0) {
            return Err(BtfError::Section("string"));
        }
        let layout = if header_len >= HEADER_LEN_WITH_LAYOUT { section("layout", 24)? } else { &[] };
        Ok(Self { types: section("type", 8)?, strings, layout })
    }
}

fn read_type(types: &[u8], at: usize, id: u32) -> Option<Type> {
    let bytes = types.get(at..at + TYPE_LEN)?;
    let info = le32(bytes, 4)?;
    Some(Type {
        id,
        name_off: le32(bytes, 0)?,
        // 16 bits of vlen and 5 of kind up to 7.1, the bits between were zero; 24 and 7 since.
        vlen: info & 0xff_ffff,
        kind: (info >> 24 & 0x7f) as u8,
        kind_flag: info >> 31 == 1,
        size_or_type: le32(bytes, 8)?,
    })
}

/// What follows a type of this kind; from the data's own layout section (7.2) for kinds newer than us.
fn kind_layout(kind: u8, layout: &[u8]) -> Option<(u8, u8)> {
    if kind == 0 {
        return None;
    }
    KIND_LAYOUT.get(usize::from(kind)).copied().or_else(|| {
        let row = layout.get(usize::from(kind) * 4..)?;
        Some((*row.first()?, *row.get(1)?))
    })
}

fn le32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// FNV-1a of the name in the source: 100,000 short names in well under a millisecond; collisions only cost a comparison.
fn hash(name: &[u8]) -> u32 {
    name.iter()
        .take_while(|byte| !ends_name(**byte))
        .fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}
