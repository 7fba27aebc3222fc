//! Questions to parsed BTF: where a member lies, how large a type is, how many parameters a function takes.

use std::fmt;

use super::{Btf, Type, kind, le32};
use crate::kernel::function_name::{Role, base, role};

/// Steps that one lookup may take: `struct sock` needs some hundreds, a hostile file could nest without end.
const BUDGET: u32 = 200_000;
/// Anonymous structs and unions inside each other; the kernel's deepest is 5.
const MAX_DEPTH: u32 = 32;
/// Pointers of every kernel that tw-trace runs on (x86-64, aarch64); BTF does not tell.
const POINTER_SIZE: u64 = 8;
/// `struct btf_member`.
const MEMBER_LEN: usize = 12;

/// Where a member lies in its struct.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberOffset {
    pub offset_bytes: u32,
    pub size: u64,
}

/// Why a member's offset cannot be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LookupError {
    NoStruct {
        name: String,
    },
    NoMember {
        strukt: String,
        member: String,
    },
    /// A path goes through a member that is no struct or union.
    NotAStruct {
        member: String,
    },
    Bitfield {
        strukt: String,
        member: String,
    },
    /// Types of this name disagree about the offset.
    Ambiguous {
        strukt: String,
        member: String,
    },
    /// Damaged or hostile BTF: cycles, endless nesting.
    TooComplex {
        strukt: String,
    },
}

impl fmt::Display for LookupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoStruct { name } => write!(f, "BTF has no struct {name}"),
            Self::NoMember { strukt, member } => write!(f, "struct {strukt} has no member {member}"),
            Self::NotAStruct { member } => write!(f, "member {member} is no struct"),
            Self::Bitfield { strukt, member } => {
                write!(f, "member {member} of struct {strukt} is a bitfield")
            }
            Self::Ambiguous { strukt, member } => {
                write!(f, "BTF has several structs {strukt} that differ in member {member}")
            }
            Self::TooComplex { strukt } => write!(f, "BTF of struct {strukt} is damaged: it does not end"),
        }
    }
}

impl std::error::Error for LookupError {}

/// A member as found: its type, and its bit offset from the start of the struct that was searched.
struct Found {
    type_id: u32,
    bits: u64,
    bitfield: bool,
}

/// One lookup's remaining steps.
struct Budget(u32);

/// The budget is used up.
struct Exhausted;

impl Budget {
    fn step(&mut self) -> Result<(), Exhausted> {
        self.0 = self.0.checked_sub(1).ok_or(Exhausted)?;
        Ok(())
    }
}

impl Btf<'_> {
    /// Where `path` (dotted; anonymous structs and unions are seen through) lies in `struct strukt`.
    pub fn offset_of(&self, strukt: &str, path: &str) -> Result<MemberOffset, LookupError> {
        let mut answer = None;
        // One budget for all structs of the name: a hostile file could have a million of them.
        let mut budget = Budget(BUDGET);
        for ty in self.named(strukt, is_composite) {
            let found = self.offset_in(ty, strukt, path, &mut budget)?;
            if answer.is_some_and(|earlier| earlier != found) {
                return Err(LookupError::Ambiguous { strukt: strukt.into(), member: path.into() });
            }
            answer = Some(found);
        }
        answer.ok_or_else(|| LookupError::NoStruct { name: strukt.into() })
    }

    fn offset_in(
        &self,
        ty: Type,
        strukt: &str,
        path: &str,
        budget: &mut Budget,
    ) -> Result<MemberOffset, LookupError> {
        let too_complex = |_: Exhausted| LookupError::TooComplex { strukt: strukt.into() };
        let (mut holder, mut bits, mut last) = (ty, 0u64, None);
        for member in path.split('.') {
            if let Some((name, id)) = last {
                holder = self
                    .resolve(id, budget)
                    .map_err(too_complex)?
                    .filter(|ty| is_composite(ty.kind))
                    .ok_or_else(|| LookupError::NotAStruct { member: String::from(name) })?;
            }
            let found = self.member(holder, member.as_bytes(), 0, budget).map_err(too_complex)?;
            let Some(found) = found else {
                return Err(LookupError::NoMember { strukt: strukt.into(), member: path.into() });
            };
            if found.bitfield {
                return Err(LookupError::Bitfield { strukt: strukt.into(), member: path.into() });
            }
            bits += found.bits;
            last = Some((member, found.type_id));
        }
        let size = match last {
            Some((_, id)) => self.size_of(id, budget).map_err(too_complex)?,
            None => None,
        };
        match (u32::try_from(bits / 8), size) {
            (Ok(offset_bytes), Some(size)) => Ok(MemberOffset { offset_bytes, size }),
            _ => Err(LookupError::TooComplex { strukt: strukt.into() }),
        }
    }

    /// Whether `struct strukt` has this member, be it a bitfield.
    pub fn has_member(&self, strukt: &str, member: &str) -> bool {
        matches!(self.offset_of(strukt, member), Ok(_) | Err(LookupError::Bitfield { .. }))
    }

    /// The size in bytes of the struct or union of this name.
    pub fn type_size(&self, name: &str) -> Option<u64> {
        self.named(name, is_composite).next().map(|ty| u64::from(ty.size_or_type))
    }

    pub fn has_function(&self, name: &str) -> bool {
        self.named(name, is_function).next().is_some()
    }

    /// How many parameters the function takes.
    pub fn function_params(&self, name: &str) -> Option<u32> {
        self.params_of(self.named(name, is_function).next()?)
    }

    fn params_of(&self, function: Type) -> Option<u32> {
        let proto = self.get(function.size_or_type)?;
        (proto.kind == kind::FUNC_PROTO).then_some(proto.vlen)
    }

    /// Functions of this name in the source whose names were made unique, with how many parameters they take.
    pub fn renamed(&self, name: &str) -> impl Iterator<Item = (&str, u32)> {
        self.renamed_types(name).filter_map(|(ty, full)| Some((full, self.params_of(ty)?)))
    }

    pub(super) fn renamed_types(&self, name: &str) -> impl Iterator<Item = (Type, &str)> {
        self.hashed(name).filter(|ty| is_function(ty.kind)).filter_map(move |ty| {
            let full = std::str::from_utf8(self.string(ty.name_off)?).ok()?;
            (base(full) == name && role(full) == Role::Renamed).then_some((ty, full))
        })
    }

    /// The numbers of all functions and typedefs of this name, whose names were made unique too.
    pub fn numbers(&self, name: &str) -> Vec<u32> {
        let exact = self.named(name, |kind| matches!(kind, kind::FUNC | kind::TYPEDEF)).map(|ty| ty.id);
        exact.chain(self.renamed_types(name).map(|(ty, _)| ty.id)).collect()
    }

    /// How many arguments a BTF program on this trace event gets, `None` when the kernel has no such event.
    ///
    /// The event is the typedef `btf_trace_NAME` → pointer → prototype (include/trace/bpf_probe.h,
    /// 5.5 – 7.3); the prototype's first parameter, `void *__data`, is not handed to the program.
    pub fn trace_event_params(&self, name: &str) -> Option<u32> {
        let typedef = self.named(&format!("btf_trace_{name}"), |kind| kind == kind::TYPEDEF).next()?;
        let pointer = self.get(typedef.size_or_type).filter(|ty| ty.kind == kind::PTR)?;
        let proto = self.get(pointer.size_or_type).filter(|ty| ty.kind == kind::FUNC_PROTO)?;
        proto.vlen.checked_sub(1)
    }

    /// Finds a member by name, looking into anonymous members.
    fn member(
        &self,
        ty: Type,
        name: &[u8],
        depth: u32,
        budget: &mut Budget,
    ) -> Result<Option<Found>, Exhausted> {
        if depth > MAX_DEPTH {
            return Err(Exhausted);
        }
        for index in 0..ty.vlen {
            budget.step()?;
            let Some(bytes) = self.element(ty, index, MEMBER_LEN) else { break };
            let (Some(name_off), Some(type_id), Some(place)) =
                (le32(bytes, 0), le32(bytes, 4), le32(bytes, 8))
            else {
                break;
            };
            let bits = u64::from(if ty.kind_flag { place & 0xff_ffff } else { place });
            match self.string(name_off) {
                Some(b"") => {
                    let inner = self.resolve(type_id, budget)?.filter(|inner| is_composite(inner.kind));
                    let Some(inner) = inner else { continue };
                    if let Some(found) = self.member(inner, name, depth + 1, budget)? {
                        return Ok(Some(Found { bits: bits + found.bits, ..found }));
                    }
                }
                Some(this) if this == name => {
                    let bitfield = bits % 8 != 0
                        || ty.kind_flag && place >> 24 != 0
                        || self.is_narrow_int(type_id, budget)?;
                    return Ok(Some(Found { type_id, bits, bitfield }));
                }
                Some(_) | None => {}
            }
        }
        Ok(None)
    }

    /// Without the kind flag, a bitfield is an integer type of fewer bits than its bytes have.
    fn is_narrow_int(&self, id: u32, budget: &mut Budget) -> Result<bool, Exhausted> {
        let Some(ty) = self.resolve(id, budget)?.filter(|ty| ty.kind == kind::INT) else { return Ok(false) };
        let encoding = self.element(ty, 0, 4).and_then(|bytes| le32(bytes, 0)).unwrap_or(0);
        Ok(u64::from(encoding & 0xff) != u64::from(ty.size_or_type) * 8 || encoding >> 16 & 0xff != 0)
    }

    /// The type behind typedefs and qualifiers.
    fn resolve(&self, mut id: u32, budget: &mut Budget) -> Result<Option<Type>, Exhausted> {
        loop {
            budget.step()?;
            match self.get(id) {
                Some(ty) if is_modifier(ty.kind) => id = ty.size_or_type,
                other => return Ok(other),
            }
        }
    }

    fn size_of(&self, id: u32, budget: &mut Budget) -> Result<Option<u64>, Exhausted> {
        let (mut id, mut count) = (id, 1u64);
        loop {
            budget.step()?;
            let Some(ty) = self.resolve(id, budget)? else { return Ok(None) };
            match ty.kind {
                kind::PTR => return Ok(count.checked_mul(POINTER_SIZE)),
                kind::ARRAY => {
                    let Some(bytes) = self.element(ty, 0, 12) else { return Ok(None) };
                    let (Some(element), Some(elements)) = (le32(bytes, 0), le32(bytes, 8)) else {
                        return Ok(None);
                    };
                    let Some(product) = count.checked_mul(u64::from(elements)) else { return Ok(None) };
                    (id, count) = (element, product);
                }
                kind::INT
                | kind::STRUCT
                | kind::UNION
                | kind::ENUM
                | kind::DATASEC
                | kind::FLOAT
                | kind::ENUM64 => return Ok(count.checked_mul(u64::from(ty.size_or_type))),
                _ => return Ok(None),
            }
        }
    }
}

fn is_composite(kind: u8) -> bool {
    matches!(kind, kind::STRUCT | kind::UNION)
}

fn is_function(kind: u8) -> bool {
    kind == kind::FUNC
}

fn is_modifier(kind: u8) -> bool {
    matches!(kind, kind::TYPEDEF | kind::VOLATILE | kind::CONST | kind::RESTRICT | kind::TYPE_TAG)
}
