//! Addresses of kernel functions, and where they end, from /proc/kallsyms.
//!
//! The kernel formats the file line by line (5 MB, tens of milliseconds): it is streamed, and left as soon
//! as it has told what was asked. Its core text is sorted by address; modules and BPF programs behind are not.

use std::fmt;
use std::io::{self, BufRead};

use super::function_name::{self, ends_name};

/// The symbol behind the last function of the kernel proper.
const TEXT_END: &[u8] = b"_etext";
/// Taken as the length of a function with no symbol behind it.
const LAST_FUNCTION_LEN: u64 = 4096;

/// One function, or a variant that the compiler made of it (`NAME.part.0`, `NAME.cold`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symbol {
    /// As in kallsyms, with the variant's suffix.
    pub name: String,
    pub start: u64,
    /// The first address behind it: the next symbol.
    pub end: u64,
    /// Not of the kernel proper.
    pub in_module: bool,
}

impl Symbol {
    /// The name in the source, without the compiler's suffix.
    pub fn base(&self) -> &str {
        function_name::base(&self.name)
    }
}

/// The functions that were asked for and found; `function_name` tells which of them is the one that was meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Symbols(Vec<Symbol>);

impl Symbols {
    pub fn iter(&self) -> impl Iterator<Item = &Symbol> {
        self.0.iter()
    }

    /// Builds the answer from known functions, for tests and stored data.
    pub fn from_symbols(symbols: Vec<Symbol>) -> Self {
        Self(symbols)
    }
}

/// Why kallsyms tells no addresses.
#[derive(Debug)]
pub enum KallsymsError {
    /// All addresses are zero. The names are told all the same: those asked for that exist.
    Restricted {
        names: Symbols,
    },
    Read(io::Error),
}

impl fmt::Display for KallsymsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Restricted { .. } => write!(
                f,
                "/proc/kallsyms hides the kernel's addresses (kernel.kptr_restrict, or CAP_SYSLOG is missing); \
                 run with CAP_SYSLOG, or set kernel.kptr_restrict to 0 or 1"
            ),
            Self::Read(error) => write!(f, "/proc/kallsyms cannot be read: {error}"),
        }
    }
}

impl std::error::Error for KallsymsError {}

/// Finds the functions `wanted` with their variants.
pub fn find(mut kallsyms: impl BufRead, wanted: &[&str]) -> Result<Symbols, KallsymsError> {
    let mut scan = Scan::new(wanted);
    let mut line = Vec::with_capacity(256);
    loop {
        line.clear();
        // read_until finds the end of a line many bytes at a time, which pays for its copy.
        if kallsyms.read_until(b'\n', &mut line).map_err(KallsymsError::Read)? == 0 {
            break;
        }
        if let Next::Enough = scan.line(&line) {
            break;
        }
    }
    scan.finish()
}

enum Next {
    More,
    Enough,
}

/// What has been seen so far.
struct Scan<'a> {
    wanted: &'a [&'a str],
    /// How the names wanted begin: spares nearly all lines the comparison.
    heads: Heads,
    found: Vec<Symbol>,
    /// Addresses of all functions, in the order of the file.
    text: Vec<u64>,
    sorted: bool,
}

impl<'a> Scan<'a> {
    fn new(wanted: &'a [&'a str]) -> Self {
        let heads = Heads::of(wanted);
        Self { wanted, heads, found: Vec::new(), text: Vec::with_capacity(1 << 17), sorted: true }
    }

    /// Takes `ADDRESS TYPE NAME[\t[MODULE]]`; a line of any other form is passed over.
    fn line(&mut self, line: &[u8]) -> Next {
        let Some((address, kind, rest)) = split(line) else { return Next::More };
        if !matches!(kind, b't' | b'T' | b'w' | b'W') {
            return Next::More;
        }
        self.sorted &= self.text.last().is_none_or(|last| *last <= address);
        self.text.push(address);
        if self.heads.may_be(rest) && self.wanted.iter().any(|wanted| is_variant(rest, wanted.as_bytes())) {
            let name = String::from_utf8_lossy(name_of(rest)).into_owned();
            self.found.push(Symbol { name, start: address, end: 0, in_module: rest.contains(&b'[') });
        }
        let at_end = rest.starts_with(TEXT_END) && name_of(rest) == TEXT_END;
        if at_end && self.sorted && self.all_found() { Next::Enough } else { Next::More }
    }

    /// What is still missing may be in a module (IPv6, on some distributions).
    fn all_found(&self) -> bool {
        self.wanted.iter().all(|wanted| self.found.iter().any(|symbol| symbol.base() == *wanted))
    }

    fn finish(mut self) -> Result<Symbols, KallsymsError> {
        if !self.text.is_empty() && self.text.iter().all(|address| *address == 0) {
            return Err(KallsymsError::Restricted { names: Symbols(self.found) });
        }
        if !self.sorted {
            self.text.sort_unstable();
        }
        for symbol in &mut self.found {
            // Aliases share an address: the end is the first that is greater.
            let next = self.text.partition_point(|address| *address <= symbol.start);
            symbol.end = self
                .text
                .get(next)
                .copied()
                .unwrap_or_else(|| symbol.start.saturating_add(LAST_FUNCTION_LEN));
        }
        Ok(Symbols(self.found))
    }
}

/// The address, the type, and the rest of the line from the name on.
fn split(line: &[u8]) -> Option<(u64, u8, &[u8])> {
    // 64-bit kernels write 16 digits.
    let space = if line.get(16) == Some(&b' ') { 16 } else { line.iter().position(|byte| *byte == b' ')? };
    Some((hex(&line[..space])?, *line.get(space + 1)?, line.get(space + 3..)?))
}

fn name_of(rest: &[u8]) -> &[u8] {
    let end = rest.iter().position(|byte| matches!(byte, b'\t' | b'\n' | b' ')).unwrap_or(rest.len());
    &rest[..end]
}

/// A set of the first four bytes of names, told by a bit each: one name in a hundred is taken for one of them.
struct Heads([u64; Self::WORDS]);

impl Heads {
    const WORDS: usize = 64;

    fn of(names: &[&str]) -> Self {
        let mut heads = Self([0; Self::WORDS]);
        for name in names {
            match Self::bit(name.as_bytes()) {
                Some((word, bit)) => heads.0[word] |= bit,
                // A shorter one begins like any.
                None => heads.0 = [u64::MAX; Self::WORDS],
            }
        }
        heads
    }

    fn may_be(&self, name: &[u8]) -> bool {
        Self::bit(name).is_none_or(|(word, bit)| self.0[word] & bit != 0)
    }

    /// `None` for a name of less than four bytes.
    fn bit(name: &[u8]) -> Option<(usize, u64)> {
        let head: [u8; 4] = name.get(..4)?.try_into().ok()?;
        let hash = u32::from_le_bytes(head).wrapping_mul(0x9e37_79b1);
        Some(((hash >> 26) as usize, 1 << (hash >> 20 & 63)))
    }
}

fn hex(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 16 {
        return None;
    }
    let (mut value, mut wrong) = (0, 0);
    for digit in digits {
        let nibble = NIBBLES[usize::from(*digit)];
        wrong |= nibble;
        value = value << 4 | u64::from(nibble & 15);
    }
    (wrong < 16).then_some(value)
}

/// What a digit is worth; 16 and more for what is none.
static NIBBLES: [u8; 256] = {
    let mut nibbles = [16; 256];
    let mut value = 0;
    while value < 16 {
        nibbles[b"0123456789abcdef"[value] as usize] = value as u8;
        value += 1;
    }
    nibbles
};

/// Whether the rest of a line is about `wanted` or a variant of it.
fn is_variant(rest: &[u8], wanted: &[u8]) -> bool {
    rest.strip_prefix(wanted).is_some_and(|behind| match behind.first() {
        None | Some(b'\t' | b'\n' | b' ') => true,
        Some(byte) => ends_name(*byte),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::function_name::Found;

    const SORTED: &str = "\
0000000000000000 A fixed_percpu_data
ffffffff81000000 T _stext
ffffffff81000010 t tcp_abort.cold
ffffffff81000020 T other
ffffffff82000000 T tcp_abort
ffffffff82000000 T tcp_abort_alias
ffffffff82000080 T __pfx_tcp_v4_rcv
ffffffff82000090 t inet_twsk_kill.part.0
ffffffff820000a0 T _etext
ffffffff83000000 D tcp_abort_data
";

    fn found(text: &str, wanted: &[&str]) -> Vec<(String, u64, u64)> {
        let symbols = find(text.as_bytes(), wanted).unwrap();
        symbols.iter().map(|s| (s.name.clone(), s.start, s.end)).collect()
    }

    #[test]
    fn functions_and_variants_come_with_their_ends() {
        let symbols = find(SORTED.as_bytes(), &["tcp_abort", "inet_twsk_kill"]).unwrap();
        let Found::One(abort) = symbols.function("tcp_abort") else { panic!("{symbols:?}") };
        assert_eq!((abort.start, abort.end), (0xffff_ffff_8200_0000, 0xffff_ffff_8200_0080));
        let names: Vec<&str> = symbols.text_of("tcp_abort").map(|s| s.name.as_str()).collect();
        assert_eq!(names, ["tcp_abort.cold", "tcp_abort"]);
        assert_eq!(symbols.function("inet_twsk_kill"), Found::Absent);
        assert_eq!(symbols.text_of("inet_twsk_kill").next().unwrap().end, 0xffff_ffff_8200_00a0);
    }

    #[test]
    fn names_across_chunks_and_short_names_are_read() {
        let whole = found(SORTED, &["tcp_abort", "__pfx_tcp_v4_rcv"]);
        for size in 1..60 {
            let chunked = io::BufReader::with_capacity(size, SORTED.as_bytes());
            let symbols = find(chunked, &["tcp_abort", "__pfx_tcp_v4_rcv"]).unwrap();
            let names: Vec<_> = symbols.iter().map(|s| (s.name.clone(), s.start, s.end)).collect();
            assert_eq!(names, whole, "chunks of {size}");
        }
        assert_eq!(found("10 T cc\n20 T cc.cold\n30 T ccd\n", &["cc"]).len(), 2);
    }

    /// Fails when it is read from.
    struct Wall;

    impl io::Read for Wall {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("read too far"))
        }
    }

    #[test]
    fn reading_stops_behind_the_kernels_text_when_all_is_found() {
        let head = &SORTED[..SORTED.find("ffffffff83").unwrap()];
        let walled = || io::BufReader::new(io::Read::chain(head.as_bytes(), Wall));
        assert!(find(walled(), &["tcp_abort", "inet_twsk_kill"]).is_ok());
        assert!(matches!(find(walled(), &["tcp_abort", "tcp_v6_rcv"]), Err(KallsymsError::Read(_))));
    }

    #[test]
    fn functions_of_modules_are_found_though_unsorted() {
        let text = format!(
            "{SORTED}ffffffffa0000100 t tcp_v6_rcv\t[ipv6]\nffffffffa0000200 t b\t[ipv6]\n\
             ffffffffa0000180 t c\t[ipv6]\n"
        );
        assert_eq!(
            found(&text, &["tcp_v6_rcv"]),
            [("tcp_v6_rcv".to_owned(), 0xffff_ffff_a000_0100, 0xffff_ffff_a000_0180)]
        );
    }

    #[test]
    fn restricted_addresses_are_an_error_that_still_tells_names() {
        let text = "0000000000000000 T _stext\n0000000000000000 T tcp_abort\n0000000000000000 T _etext\n";
        let Err(KallsymsError::Restricted { names }) = find(text.as_bytes(), &["tcp_abort", "nothing"])
        else {
            panic!("restricted kallsyms not recognised");
        };
        assert_eq!(names.iter().map(|symbol| symbol.name.as_str()).collect::<Vec<_>>(), ["tcp_abort"]);
    }

    #[test]
    fn odd_lines_are_passed_over() {
        assert_eq!(found("", &["tcp_abort"]), []);
        let text = "\n \nzz T tcp_abort\n12345678901234567 T tcp_abort\n10 T\n10 T \n20 T tcp_abort";
        assert_eq!(found(text, &["tcp_abort"]), [("tcp_abort".to_owned(), 0x20, 0x20 + LAST_FUNCTION_LEN)]);
    }
}
