//! The names that a function of the source has in the symbol table, and which of them is the function itself.
//!
//! Clang with ThinLTO makes static functions global and their names unique: `NAME.llvm.123`. With the CFI that has jump
//! tables (aarch64, up to 6.0) it writes `NAME.HASH`, before Clang 13 `NAME$HASH`, and beside the function the entry of
//! its jump table, `NAME.cfi_jt`. The list is the kernel's own (`cleanup_symbol_name`, kernel/kallsyms.c, 5.14 – 6.10).

use super::kallsyms::{Symbol, Symbols};

/// What the compiler puts behind the name of an entry in a jump table.
const JUMP_TABLE: &str = ".cfi_jt";
/// Hex digits of the hash in `NAME.HASH` and `NAME$HASH`.
const HASH_DIGITS: usize = 32;

/// What a symbol is to the function in whose name it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The function, under its own name.
    Itself,
    /// The function, under a name that was made unique. It takes the arguments that it takes in the source.
    Renamed,
    /// The address that pointers to the function have. It only jumps there.
    JumpTable,
    /// A part of it, or a copy that takes other arguments: `.cold`, `.part.0`, `.isra.0`, `.constprop.0`.
    Piece,
}

/// The function that was asked for by its name in the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found<T> {
    Absent,
    One(T),
    /// Functions of different addresses bear the name. Their names in the symbol table.
    Several(Vec<String>),
}

impl<T> Found<T> {
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Found<U> {
        match self {
            Self::Absent => Found::Absent,
            Self::One(one) => Found::One(change(one)),
            Self::Several(names) => Found::Several(names),
        }
    }
}

/// Says that more than one function bears the name.
pub fn several(name: &str, symbols: &[String]) -> String {
    format!(
        "kallsyms has {} functions {name}() ({}), and which one is meant is not known",
        symbols.len(),
        symbols.join(", ")
    )
}

/// Where the name in the source ends: identifiers of C have neither character.
pub const fn ends_name(byte: u8) -> bool {
    matches!(byte, b'.' | b'$')
}

/// The name in the source.
pub fn base(symbol: &str) -> &str {
    symbol.split(['.', '$']).next().unwrap_or(symbol)
}

pub fn role(symbol: &str) -> Role {
    let suffix = &symbol[base(symbol).len()..];
    let (suffix, jump_table) = match suffix.strip_suffix(JUMP_TABLE) {
        Some(rest) => (rest, true),
        None => (suffix, false),
    };
    match (suffix, jump_table) {
        ("", true) => Role::JumpTable,
        ("", false) => Role::Itself,
        (made_unique, true) if is_unique_suffix(made_unique) => Role::JumpTable,
        (made_unique, false) if is_unique_suffix(made_unique) => Role::Renamed,
        (_, _) => Role::Piece,
    }
}

/// One suffix of ThinLTO, CFI or `-funique-internal-linkage-names` (`NAME.__uniq.123`), or several of them.
fn is_unique_suffix(mut suffix: &str) -> bool {
    while !suffix.is_empty() {
        let rest = [".llvm.", ".__uniq."].iter().find_map(|mark| suffix.strip_prefix(mark));
        let (digits, least) = match rest {
            Some(digits) => (digits, 1),
            None => (&suffix[1..], HASH_DIGITS),
        };
        let end = digits.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(digits.len());
        if end < least || rest.is_none() && end != HASH_DIGITS {
            return false;
        }
        suffix = &digits[end..];
        if !suffix.is_empty() && !ends_name(suffix.as_bytes()[0]) {
            return false;
        }
    }
    true
}

impl Symbols {
    /// The function of this name in the source: the symbol of exactly this name, else the one whose name was made unique.
    pub fn function(&self, name: &str) -> Found<&Symbol> {
        match self.only(name, Role::Itself) {
            Found::Absent => self.only(name, Role::Renamed),
            found @ (Found::One(_) | Found::Several(_)) => found,
        }
    }

    /// The address that a pointer to the function has: that of its jump table's entry where there is one.
    pub fn pointer(&self, name: &str) -> Found<u64> {
        let function = self.function(name);
        if let Found::One(function) = function
            && let Some(entry) = self
                .iter()
                .find(|symbol| symbol.name.strip_suffix(JUMP_TABLE).is_some_and(|of| of == function.name))
        {
            return Found::One(entry.start);
        }
        match self.only(name, Role::JumpTable) {
            Found::Absent => function.map(|function| function.start),
            found @ (Found::One(_) | Found::Several(_)) => found.map(|entry| entry.start),
        }
    }

    /// The function and the pieces that the compiler made of it: all the text in which it runs.
    pub fn text_of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Symbol> {
        self.iter().filter(move |symbol| symbol.base() == name && role(&symbol.name) != Role::JumpTable)
    }

    /// The one symbol of this role; those of the kernel proper come before those of modules.
    fn only(&self, name: &str, wanted: Role) -> Found<&Symbol> {
        let all: Vec<_> =
            self.iter().filter(|symbol| symbol.base() == name && role(&symbol.name) == wanted).collect();
        let of_kernel: Vec<_> = all.iter().copied().filter(|symbol| !symbol.in_module).collect();
        let of_first = if of_kernel.is_empty() { all } else { of_kernel };
        match of_first.as_slice() {
            [] => Found::Absent,
            // Names of one address are aliases.
            [first, rest @ ..] if rest.iter().all(|other| other.start == first.start) => Found::One(first),
            several => Found::Several(several.iter().map(|symbol| symbol.name.clone()).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::kallsyms::find;

    const HASH: &str = "3f0c7e1a9b2d4c5e6f708192a3b4c5d6";

    fn symbols(text: &str) -> Symbols {
        find(text.as_bytes(), &["tw_timer_handler", "tcp_abort"]).unwrap()
    }

    fn function(text: &str) -> Found<String> {
        symbols(text).function("tw_timer_handler").map(|symbol| symbol.name.clone())
    }

    #[test]
    fn suffixes_say_what_a_symbol_is() {
        for (symbol, wanted) in [
            ("f", Role::Itself),
            ("f.llvm.10133695243223489424", Role::Renamed),
            ("f.llvm.9f", Role::Renamed),
            (&format!("f.{HASH}"), Role::Renamed),
            (&format!("f${HASH}"), Role::Renamed),
            ("f.__uniq.123.llvm.456", Role::Renamed),
            ("f.cfi_jt", Role::JumpTable),
            ("f.llvm.1.cfi_jt", Role::JumpTable),
            (&format!("f.{HASH}.cfi_jt"), Role::JumpTable),
            (&format!("f${HASH}.cfi_jt"), Role::JumpTable),
            ("f.cold", Role::Piece),
            ("f.part.0", Role::Piece),
            ("f.isra.0", Role::Piece),
            ("f.constprop.0.isra.0", Role::Piece),
            ("f.llvm.1.cold", Role::Piece),
            ("f.cold.llvm.1", Role::Piece),
            ("f.llvm.", Role::Piece),
            ("f.llvm.x", Role::Piece),
            ("f.", Role::Piece),
            ("f$", Role::Piece),
            (&format!("f.{HASH}0"), Role::Piece),
        ] {
            assert_eq!(role(symbol), wanted, "{symbol}");
            assert_eq!(base(symbol), "f", "{symbol}");
        }
    }

    #[test]
    fn the_exact_name_comes_first_and_pieces_never() {
        assert_eq!(
            function("10 t tw_timer_handler.llvm.7\n20 t tw_timer_handler\n30 t tw_timer_handler.cold\n"),
            Found::One("tw_timer_handler".to_owned())
        );
        assert_eq!(
            function("10 t tw_timer_handler.cold\n20 t tw_timer_handler.llvm.7\n"),
            Found::One("tw_timer_handler.llvm.7".to_owned())
        );
        assert_eq!(function("10 t tw_timer_handler.cold\n20 t tw_timer_handler.part.0\n"), Found::Absent);
        assert_eq!(function("10 t tw_timer_handlers\n"), Found::Absent);
    }

    #[test]
    fn twins_are_not_guessed_among() {
        let twins = ["tw_timer_handler.llvm.7", "tw_timer_handler.llvm.8"].map(str::to_owned).to_vec();
        let text = "10 t tw_timer_handler.llvm.7\n20 t tw_timer_handler.llvm.8\n";
        assert_eq!(function(text), Found::Several(twins.clone()));
        assert_eq!(symbols(text).pointer("tw_timer_handler"), Found::Several(twins));
        assert!(matches!(function("10 t tw_timer_handler\n20 t tw_timer_handler\n"), Found::Several(_)));
    }

    #[test]
    fn aliases_are_one_and_the_kernel_comes_before_modules() {
        assert!(matches!(
            function("10 t tw_timer_handler.llvm.7\n10 t tw_timer_handler.llvm.8\n"),
            Found::One(_)
        ));
        let with_module = "10 t tw_timer_handler\nf0 t tw_timer_handler\t[other]\n";
        assert_eq!(symbols(with_module).pointer("tw_timer_handler"), Found::One(0x10));
        assert!(matches!(function("f0 t tw_timer_handler\t[other]\n"), Found::One(_)));
    }

    #[test]
    fn pointers_are_those_of_the_jump_table() {
        let pointer = |text: &str| symbols(text).pointer("tw_timer_handler");
        assert_eq!(pointer("10 t tw_timer_handler\n"), Found::One(0x10));
        assert_eq!(pointer("10 t tw_timer_handler\n40 t tw_timer_handler.cfi_jt\n"), Found::One(0x40));
        assert_eq!(
            pointer(&format!("10 t tw_timer_handler.{HASH}\n40 t tw_timer_handler.{HASH}.cfi_jt\n")),
            Found::One(0x40)
        );
        // The entry of the function that was found, not that of a twin.
        assert_eq!(
            pointer(
                "10 t tw_timer_handler\n40 t tw_timer_handler.llvm.1.cfi_jt\n50 t tw_timer_handler.cfi_jt\n"
            ),
            Found::One(0x50)
        );
        assert_eq!(pointer("40 t tw_timer_handler.cfi_jt\n"), Found::One(0x40));
        assert!(matches!(
            pointer("40 t tw_timer_handler.llvm.1.cfi_jt\n50 t tw_timer_handler.llvm.2.cfi_jt\n"),
            Found::Several(_)
        ));
        assert_eq!(pointer("10 t tcp_abort\n"), Found::Absent);
    }

    #[test]
    fn no_call_stack_is_in_a_jump_table() {
        let symbols =
            symbols("10 t tcp_abort.llvm.1\n20 t tcp_abort.llvm.1.cold\n30 t tcp_abort.llvm.1.cfi_jt\n");
        let names: Vec<_> = symbols.text_of("tcp_abort").map(|symbol| symbol.name.as_str()).collect();
        assert_eq!(names, ["tcp_abort.llvm.1", "tcp_abort.llvm.1.cold"]);
    }
}
