//! A kernel's types (BTF), read whole and written again with only some of them.
//!
//! Format: Documentation/bpf/btf.rst. What is written is of version 1 as every kernel since 4.18 has it.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail, ensure};

use super::Wanted;

mod kind {
    pub(super) const INT: u8 = 1;
    pub(super) const PTR: u8 = 2;
    pub(super) const ARRAY: u8 = 3;
    pub(super) const STRUCT: u8 = 4;
    pub(super) const UNION: u8 = 5;
    pub(super) const ENUM: u8 = 6;
    pub(super) const FWD: u8 = 7;
    pub(super) const TYPEDEF: u8 = 8;
    pub(super) const VOLATILE: u8 = 9;
    pub(super) const CONST: u8 = 10;
    pub(super) const RESTRICT: u8 = 11;
    pub(super) const FUNC: u8 = 12;
    pub(super) const FUNC_PROTO: u8 = 13;
    pub(super) const TYPE_TAG: u8 = 18;
    pub(super) const ENUM64: u8 = 19;
}

/// Bytes behind a type of each kind: once, and for each of its elements.
const LAYOUT: [(usize, usize); 20] = [
    (0, 0),
    (4, 0),
    (0, 0),
    (12, 0),
    (0, 12),
    (0, 12),
    (0, 8),
    (0, 0),
    (0, 0),
    (0, 0),
    (0, 0),
    (0, 0),
    (0, 0),
    (0, 8),
    (4, 0),
    (0, 12),
    (0, 0),
    (4, 0),
    (0, 0),
    (0, 12),
];

#[derive(Clone, Copy)]
struct Type<'a> {
    name: &'a str,
    kind: u8,
    flag: bool,
    vlen: usize,
    /// A size or the id of a type, by kind.
    value: u32,
    rest: &'a [u8],
}

pub(super) struct Btf<'a> {
    /// By id; 0 is void.
    types: Vec<Option<Type<'a>>>,
    strings: &'a [u8],
}

fn word(bytes: &[u8], at: usize) -> Result<u32> {
    let word = bytes.get(at..at + 4).context("BTF is cut off")?;
    Ok(u32::from_le_bytes(word.try_into()?))
}

impl<'a> Btf<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self> {
        ensure!(bytes.starts_with(&[0x9f, 0xeb, 1]), "not little-endian BTF of version 1");
        let body = bytes.get(word(bytes, 4)? as usize..).context("BTF is cut off")?;
        let section = |at: usize| -> Result<&'a [u8]> {
            let (start, len) = (word(bytes, at)? as usize, word(bytes, at + 4)? as usize);
            body.get(start..start + len).context("BTF is cut off")
        };
        let (types, strings) = (section(8)?, section(16)?);
        let mut btf = Self { types: vec![None], strings };
        let mut at = 0;
        while at < types.len() {
            let (name, info, value) = (word(types, at)?, word(types, at + 4)?, word(types, at + 8)?);
            // 16 bits of length and 5 of kind up to 7.1, 24 and 7 since.
            let (vlen, kind) = ((info & 0xff_ffff) as usize, (info >> 24 & 0x7f) as u8);
            let Some((once, each)) = LAYOUT.get(usize::from(kind)) else {
                bail!("BTF of unknown kind {kind}")
            };
            let rest = types.get(at + 12..at + 12 + once + vlen * each).context("BTF is cut off")?;
            at += 12 + rest.len();
            let name = btf.string(name)?;
            btf.types.push(Some(Type { name, kind, flag: info >> 31 == 1, vlen, value, rest }));
        }
        Ok(btf)
    }

    fn string(&self, at: u32) -> Result<&'a str> {
        let rest = self.strings.get(at as usize..).context("BTF names a string that is not there")?;
        Ok(std::str::from_utf8(rest.split(|byte| *byte == 0).next().unwrap_or_default())?)
    }

    fn get(&self, id: u32) -> Result<Type<'a>> {
        self.types.get(id as usize).copied().flatten().with_context(|| format!("BTF has no type {id}"))
    }

    /// The type behind typedefs and qualifiers; `None` for void.
    fn resolve(&self, mut id: u32) -> Result<Option<Type<'a>>> {
        while id != 0 {
            let ty = self.get(id)?;
            match ty.kind {
                kind::TYPEDEF | kind::VOLATILE | kind::CONST | kind::RESTRICT | kind::TYPE_TAG => {
                    id = ty.value;
                }
                _ => return Ok(Some(ty)),
            }
        }
        Ok(None)
    }

    /// Name, type and place of each member, the latter as it is stored.
    fn members(&self, ty: Type<'a>) -> impl Iterator<Item = Result<(&'a str, u32, u32)>> {
        (0..ty.vlen).map(move |index| {
            let at = index * 12;
            Ok((self.string(word(ty.rest, at)?)?, word(ty.rest, at + 4)?, word(ty.rest, at + 8)?))
        })
    }

    /// BTF of nothing but what is wanted.
    pub(super) fn cut(&self, wanted: &'a Wanted) -> Result<Vec<u8>> {
        let mut out = Out::new(wanted);
        for ty in self.types.iter().flatten() {
            match ty.kind {
                kind::STRUCT | kind::UNION if wanted.fields.contains_key(ty.name) => {
                    self.composite(*ty, Vec::new(), &mut out)?;
                }
                kind::FUNC if wanted.functions.contains(&ty.name) => {
                    let proto = self.proto(self.get(ty.value)?, &mut out)?;
                    out.add(ty.name, kind::FUNC, 0, proto, &[]);
                }
                kind::TYPEDEF => {
                    let event = ty.name.strip_prefix("btf_trace_");
                    if event.is_some_and(|event| wanted.trace_events.contains(&event)) {
                        let pointer = self.get(ty.value)?;
                        let proto = self.proto(self.get(pointer.value)?, &mut out)?;
                        let pointer = out.add("", kind::PTR, 0, proto, &[]);
                        out.add(ty.name, kind::TYPEDEF, 0, pointer, &[]);
                    }
                }
                _ => {}
            }
        }
        Ok(out.finish())
    }

    /// A struct or union with only the members that these paths, or those wanted of it, go through.
    fn composite(&self, ty: Type<'a>, mut paths: Vec<Vec<&'a str>>, out: &mut Out<'a>) -> Result<u32> {
        let own = out.wanted.fields.get(ty.name).into_iter().flatten();
        paths.extend(own.map(|path| path.split('.').collect::<Vec<_>>()));
        let mut kept = Vec::new();
        for member in self.members(ty) {
            let (name, id, place) = member?;
            if name.is_empty() {
                let inner =
                    self.resolve(id)?.filter(|inner| matches!(inner.kind, kind::STRUCT | kind::UNION));
                let Some(inner) = inner else { continue };
                if self.leads_to(inner, &paths)? {
                    kept.push(("", self.composite(inner, paths.clone(), out)?, place));
                }
                continue;
            }
            let tails: Vec<Vec<&'a str>> = paths
                .iter()
                .filter(|path| path.first() == Some(&name))
                .map(|path| path[1..].to_vec())
                .collect();
            if tails.is_empty() {
                continue;
            }
            let id = if tails.iter().all(Vec::is_empty) {
                self.leaf(id, out)?
            } else {
                self.composite(self.resolve(id)?.context("a path through void")?, tails, out)?
            };
            kept.push((name, id, place));
        }
        let mut words = Vec::new();
        for (name, id, place) in &kept {
            words.extend([out.string(name), *id, *place]);
        }
        let info = u32::from(ty.flag) << 31 | kept.len() as u32;
        Ok(out.add(ty.name, ty.kind, info, ty.value, &words))
    }

    /// Whether an anonymous member holds any of the paths.
    fn leads_to(&self, ty: Type<'a>, paths: &[Vec<&str>]) -> Result<bool> {
        for member in self.members(ty) {
            let (name, id, _) = member?;
            let inner = if name.is_empty() { self.resolve(id)? } else { None };
            let inner = inner.filter(|inner| matches!(inner.kind, kind::STRUCT | kind::UNION));
            let found = match inner {
                Some(inner) => self.leads_to(inner, paths)?,
                None => !name.is_empty() && paths.iter().any(|path| path.first() == Some(&name)),
            };
            if found {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A type of the right kind and size, with nothing in it; what a pointer points to is only declared.
    fn leaf(&self, id: u32, out: &mut Out<'a>) -> Result<u32> {
        let Some(ty) = self.resolve(id)? else { return Ok(0) };
        Ok(match ty.kind {
            kind::PTR => {
                let target = self.resolve(ty.value)?;
                let target = target.filter(|to| matches!(to.kind, kind::STRUCT | kind::UNION | kind::FWD));
                let to = match target {
                    Some(to) => out.add(to.name, kind::FWD, u32::from(to.kind == kind::UNION) << 31, 0, &[]),
                    None => 0,
                };
                out.add("", kind::PTR, 0, to, &[])
            }
            kind::ARRAY => {
                let element = self.leaf(word(ty.rest, 0)?, out)?;
                out.add("", kind::ARRAY, 0, 0, &[element, element, word(ty.rest, 8)?])
            }
            kind::STRUCT | kind::UNION => self.composite(ty, Vec::new(), out)?,
            kind::INT => out.add(ty.name, kind::INT, 0, ty.value, &[word(ty.rest, 0)?]),
            kind::ENUM | kind::ENUM64 => out.add(ty.name, kind::INT, 0, ty.value, &[ty.value * 8]),
            other => bail!("a member or parameter of kind {other}"),
        })
    }

    fn proto(&self, ty: Type<'a>, out: &mut Out<'a>) -> Result<u32> {
        ensure!(ty.kind == kind::FUNC_PROTO, "a function without a prototype");
        let mut words = Vec::new();
        for index in 0..ty.vlen {
            let (name, id) = (self.string(word(ty.rest, index * 8)?)?, word(ty.rest, index * 8 + 4)?);
            words.extend([out.string(name), self.leaf(id, out)?]);
        }
        let returns = self.leaf(ty.value, out)?;
        Ok(out.add("", kind::FUNC_PROTO, ty.vlen as u32, returns, &words))
    }
}

/// BTF being written; a type that is there already is not written again.
struct Out<'a> {
    wanted: &'a Wanted,
    types: Vec<u8>,
    strings: Vec<u8>,
    names: BTreeMap<String, u32>,
    ids: BTreeMap<Vec<u8>, u32>,
}

impl<'a> Out<'a> {
    fn new(wanted: &'a Wanted) -> Self {
        let names = [(String::new(), 0)].into();
        Self { wanted, types: Vec::new(), strings: vec![0], names, ids: BTreeMap::new() }
    }

    fn string(&mut self, string: &str) -> u32 {
        if let Some(at) = self.names.get(string) {
            return *at;
        }
        let at = self.strings.len() as u32;
        self.strings.extend_from_slice(string.as_bytes());
        self.strings.push(0);
        self.names.insert(string.to_owned(), at);
        at
    }

    fn add(&mut self, name: &str, kind: u8, info: u32, value: u32, rest: &[u32]) -> u32 {
        let name = self.string(name);
        let words = [name, info | u32::from(kind) << 24, value];
        let bytes: Vec<u8> = words.iter().chain(rest).flat_map(|word| word.to_le_bytes()).collect();
        let next = self.ids.len() as u32 + 1;
        let id = *self.ids.entry(bytes.clone()).or_insert(next);
        if id == next {
            self.types.extend(bytes);
        }
        id
    }

    fn finish(self) -> Vec<u8> {
        let (types, strings) = (self.types.len() as u32, self.strings.len() as u32);
        let mut bytes = vec![0x9f, 0xeb, 1, 0];
        for word in [24, 0, types, types, strings] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(self.types);
        bytes.extend(self.strings);
        bytes
    }
}
