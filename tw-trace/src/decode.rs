//! Bytes from the ring buffer or a recording to a checked [`Record`].

use std::fmt;
use std::mem::{offset_of, size_of};

use tw_trace_common::event::{
    AF_INET, AF_INET6, Conn, Head, Kind, Owner, State, TwEnter, TwExit, TwOverflow, TwRearm,
};
use tw_trace_common::state::{Entered, ExitReason, RearmCause, Substate, TcpState};

/// A record whose enum bytes all name a variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    State(State),
    TwEnter(TwEnter),
    TwRearm(TwRearm),
    TwExit(TwExit),
    TwOverflow(TwOverflow),
}

impl Record {
    pub const fn kind(&self) -> Kind {
        match self {
            Self::State(_) => Kind::State,
            Self::TwEnter(_) => Kind::TwEnter,
            Self::TwRearm(_) => Kind::TwRearm,
            Self::TwExit(_) => Kind::TwExit,
            Self::TwOverflow(_) => Kind::TwOverflow,
        }
    }

    pub const fn head(&self) -> &Head {
        match self {
            Self::State(r) => &r.head,
            Self::TwEnter(r) => &r.head,
            Self::TwRearm(r) => &r.head,
            Self::TwExit(r) => &r.head,
            Self::TwOverflow(r) => &r.head,
        }
    }

    pub const fn conn(&self) -> &Conn {
        match self {
            Self::State(r) => &r.conn,
            Self::TwEnter(r) => &r.conn,
            Self::TwRearm(r) => &r.conn,
            Self::TwExit(r) => &r.conn,
            Self::TwOverflow(r) => &r.conn,
        }
    }

    pub const fn owner(&self) -> &Owner {
        match self {
            Self::State(r) => &r.owner,
            Self::TwEnter(r) => &r.owner,
            Self::TwRearm(r) => &r.owner,
            Self::TwExit(r) => &r.owner,
            Self::TwOverflow(r) => &r.owner,
        }
    }
}

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// Shorter than the head that every record begins with.
    Short { length: usize },
    /// The kind byte names no record.
    Kind { value: u8 },
    /// Not the length of its kind.
    Length { kind: Kind, length: usize },
    /// A field holds a number that means nothing.
    Field { kind: Kind, field: &'static str, value: u16 },
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short { length } => {
                write!(f, "a record of {length} bytes; its head alone takes {}", size_of::<Head>())
            }
            Self::Kind { value } => write!(f, "no kind of record has the number {value}"),
            Self::Length { kind, length } => {
                write!(f, "a {} record of {length} bytes instead of {}", kind.name(), kind.size())
            }
            Self::Field { kind, field, value } => {
                write!(f, "a {} record whose {field} is {value}, which means nothing", kind.name())
            }
        }
    }
}

impl std::error::Error for DecodeError {}

/// Reads one record from exactly its bytes, which need not be aligned.
pub fn decode(bytes: &[u8]) -> Result<Record, DecodeError> {
    if bytes.len() < size_of::<Head>() {
        return Err(DecodeError::Short { length: bytes.len() });
    }
    let byte = bytes[offset_of!(Head, kind)];
    let kind = Kind::try_from(byte).map_err(|unnamed| DecodeError::Kind { value: unnamed.0 })?;
    let record = match kind {
        Kind::State => Record::State(read(kind, bytes)?),
        Kind::TwEnter => Record::TwEnter(read(kind, bytes)?),
        Kind::TwRearm => Record::TwRearm(read(kind, bytes)?),
        Kind::TwExit => Record::TwExit(read(kind, bytes)?),
        Kind::TwOverflow => Record::TwOverflow(read(kind, bytes)?),
    };
    check(&record)?;
    Ok(record)
}

/// When a record was made, without a look at the rest of it.
#[inline]
pub fn mono_ns(bytes: &[u8]) -> Option<u64> {
    const { assert!(offset_of!(Head, mono_ns) == 0) };
    bytes.first_chunk().map(|first| u64::from_ne_bytes(*first))
}

/// The name of an enum byte, "unknown" where none has it (never so in a decoded record).
#[inline]
pub fn name<E: TryFrom<u8>>(byte: u8, name: fn(E) -> &'static str) -> &'static str {
    E::try_from(byte).map_or("unknown", name)
}

/// A record of the wire.
///
/// # Safety
/// The type is `repr(C)` and every bit pattern is a value of it: integers and arrays of integers only.
unsafe trait Wire: Copy {}

// SAFETY: integers and arrays of integers, see tw-trace-common's event.rs.
unsafe impl Wire for State {}
// SAFETY: as above.
unsafe impl Wire for TwEnter {}
// SAFETY: as above.
unsafe impl Wire for TwRearm {}
// SAFETY: as above.
unsafe impl Wire for TwExit {}
// SAFETY: as above.
unsafe impl Wire for TwOverflow {}

fn read<T: Wire>(kind: Kind, bytes: &[u8]) -> Result<T, DecodeError> {
    if bytes.len() != size_of::<T>() {
        return Err(DecodeError::Length { kind, length: bytes.len() });
    }
    // SAFETY: the slice holds size_of::<T>() bytes, any of which make a T; the read does not ask for alignment.
    Ok(unsafe { std::ptr::read_unaligned(bytes.as_ptr().cast::<T>()) })
}

fn check(record: &Record) -> Result<(), DecodeError> {
    let kind = record.kind();
    let family = record.conn().family;
    if family != AF_INET && family != AF_INET6 {
        return Err(DecodeError::Field { kind, field: "family", value: family });
    }
    match record {
        Record::State(r) => {
            named::<TcpState>(kind, "old state", r.old)?;
            named::<TcpState>(kind, "new state", r.new)
        }
        Record::TwEnter(r) => {
            named::<Substate>(kind, "substate", r.substate)?;
            named::<Entered>(kind, "entered", r.entered)
        }
        Record::TwRearm(r) => {
            named::<Substate>(kind, "substate", r.substate)?;
            named::<RearmCause>(kind, "cause", r.cause)
        }
        Record::TwExit(r) => {
            named::<ExitReason>(kind, "reason", r.reason)?;
            named::<Substate>(kind, "substate", r.substate)?;
            named::<Entered>(kind, "entered", r.entered)
        }
        Record::TwOverflow(_) => Ok(()),
    }
}

fn named<E: TryFrom<u8>>(kind: Kind, field: &'static str, value: u8) -> Result<(), DecodeError> {
    match E::try_from(value) {
        Ok(_) => Ok(()),
        Err(_) => Err(DecodeError::Field { kind, field, value: value.into() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::made_up::{self, Random};

    #[test]
    fn every_kind_survives_its_bytes_at_every_alignment() {
        for record in made_up::one_of_each() {
            let bytes = made_up::bytes(&record);
            assert_eq!(bytes.len(), record.kind().size());
            for shift in 0..8 {
                let mut shifted = vec![0; shift];
                shifted.extend_from_slice(&bytes);
                assert_eq!(decode(&shifted[shift..]), Ok(record));
            }
        }
    }

    #[test]
    fn another_length_is_refused_and_named() {
        for record in made_up::one_of_each() {
            let mut bytes = made_up::bytes(&record);
            for length in 0..bytes.len() {
                assert!(decode(&bytes[..length]).is_err(), "{length} bytes");
            }
            bytes.push(0);
            let kind = record.kind();
            assert_eq!(decode(&bytes), Err(DecodeError::Length { kind, length: kind.size() + 1 }));
        }
        assert_eq!(
            decode(&[0; 15]).map_err(|e| e.to_string()),
            Err("a record of 15 bytes; its head alone takes 16".to_owned())
        );
    }

    #[test]
    fn a_byte_that_names_nothing_is_refused_and_named() {
        let refused = |record: Record, text: &str| {
            assert_eq!(decode(&made_up::bytes(&record)).map_err(|e| e.to_string()), Err(text.to_owned()));
        };
        let exit = made_up::exit();
        refused(
            Record::TwExit(TwExit { reason: 8, ..exit }),
            "a tw_exit record whose reason is 8, which means nothing",
        );
        refused(
            Record::TwExit(TwExit { conn: Conn { family: 3, ..exit.conn }, ..exit }),
            "a tw_exit record whose family is 3, which means nothing",
        );
        refused(
            Record::State(State { new: 14, ..made_up::state() }),
            "a state record whose new state is 14, which means nothing",
        );
        refused(
            Record::TwRearm(TwRearm { cause: 5, ..made_up::rearm() }),
            "a tw_rearm record whose cause is 5, which means nothing",
        );
        refused(
            Record::TwEnter(TwEnter { entered: 2, ..made_up::enter() }),
            "a tw_enter record whose entered is 2, which means nothing",
        );
        refused(
            Record::TwExit(TwExit { head: Head { kind: 9, ..exit.head }, ..exit }),
            "no kind of record has the number 9",
        );
    }

    #[test]
    fn random_bytes_never_panic() {
        let mut random = Random::new(7);
        let mut bytes = [0u8; 200];
        for _ in 0..20_000 {
            bytes.fill_with(|| random.below(12) as u8);
            let length = random.below(bytes.len() as u64) as usize;
            if let Ok(record) = decode(&bytes[..length]) {
                assert_eq!(made_up::bytes(&record), bytes[..length]);
            }
        }
    }
}
