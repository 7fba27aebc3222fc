//! The offsets of every field in `fields::FIELDS`, from BTF, before anything is attached.

use std::fmt;

use tw_trace_common::fields::{ABSENT, FIELDS, Field, Need, Offsets};

use super::btf::{Btf, LookupError};

/// The offsets, and which optional fields this kernel does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    pub offsets: Offsets,
    pub absent: Vec<&'static Field>,
}

/// A field that tw-trace cannot do without is not there, or is not what it reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingField {
    pub field: &'static Field,
    pub why: WhyMissing,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WhyMissing {
    Lookup(LookupError),
    Size {
        found: u64,
    },
    /// The offset does not fit the 16 bits that the kernel side is handed.
    Far {
        offset: u32,
    },
}

impl fmt::Display for MissingField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Field { of, path, size, .. } = self.field;
        write!(f, "kernel field {of}.{path}: ")?;
        match &self.why {
            WhyMissing::Lookup(error) => write!(f, "{error}")?,
            WhyMissing::Size { found } => write!(f, "it has {found} bytes where tw-trace reads {size}")?,
            WhyMissing::Far { offset } => write!(f, "its offset {offset} is beyond what tw-trace can read")?,
        }
        write!(
            f,
            "; without it tw-trace cannot tell connections apart, so nothing was attached. \
             Check that the BTF is of the running kernel (--btf FILE), or report this kernel with \
             `tw-trace doctor --json`"
        )
    }
}

impl std::error::Error for MissingField {}

/// Offsets of all [`FIELDS`], sizes checked.
pub fn resolve_offsets(btf: &Btf<'_>) -> Result<Resolved, MissingField> {
    let mut slots = [ABSENT; FIELDS.len()];
    let mut absent = Vec::new();
    for (slot, field) in slots.iter_mut().zip(FIELDS) {
        match (resolve(btf, field), field.need) {
            (Ok(offset), _) => *slot = offset,
            (Err(_), Need::Optional(_)) => absent.push(field),
            (Err(why), Need::Required) => return Err(MissingField { field, why }),
        }
    }
    Ok(Resolved { offsets: Offsets::from_slots(slots), absent })
}

fn resolve(btf: &Btf<'_>, field: &Field) -> Result<u16, WhyMissing> {
    let member = btf.offset_of(field.of, field.path).map_err(WhyMissing::Lookup)?;
    if member.size != u64::from(field.size) {
        return Err(WhyMissing::Size { found: member.size });
    }
    match u16::try_from(member.offset_bytes) {
        Ok(offset) if offset != ABSENT => Ok(offset),
        _ => Err(WhyMissing::Far { offset: member.offset_bytes }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::btf::tests::{Blob, fields_blob};

    #[test]
    fn every_field_is_found_where_it_was_put() {
        let (blob, expected) = fields_blob(|_| true);
        let resolved = resolve_offsets(&Btf::parse(&blob).unwrap()).unwrap();
        assert_eq!(resolved.offsets, Offsets::from_slots(expected));
        assert!(resolved.absent.is_empty());
    }

    #[test]
    fn an_optional_field_can_be_absent() {
        let (blob, _) = fields_blob(|field| !field.path.starts_with("skc_v6"));
        let resolved = resolve_offsets(&Btf::parse(&blob).unwrap()).unwrap();
        assert_eq!(
            resolved.absent.iter().map(|f| f.path).collect::<Vec<_>>(),
            ["skc_v6_daddr", "skc_v6_rcv_saddr"]
        );
        assert_eq!(resolved.offsets.skc_v6_daddr, ABSENT);
    }

    #[test]
    fn a_missing_required_field_is_named() {
        let (blob, _) = fields_blob(|field| field.path != "tw_substate");
        let error = resolve_offsets(&Btf::parse(&blob).unwrap()).unwrap_err().to_string();
        assert!(error.starts_with("kernel field inet_timewait_sock.tw_substate: "), "{error}");
        assert!(error.contains("nothing was attached") && error.contains("--btf FILE"), "{error}");
    }

    #[test]
    fn a_field_of_another_size_is_refused() {
        let mut blob = Blob::new();
        let int = blob.int("u16", 2);
        blob.strukt("sock_common", 8, &[("skc_daddr", int, 0)]);
        let bytes = blob.bytes();
        let error = resolve_offsets(&Btf::parse(&bytes).unwrap()).unwrap_err();
        assert_eq!(error.why, WhyMissing::Size { found: 2 });
    }
}
