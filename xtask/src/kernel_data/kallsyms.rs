//! The lines of kallsyms that are looked for, and those that tell where these functions end.

use std::collections::BTreeMap;

/// The end of the kernel's own text.
const TEXT_END: &str = "_etext";

/// Keeps the functions `wanted` with the variants that the compiler made of them, the symbol behind each, and
/// the end of the text, in the order of addresses.
pub(super) fn cut(kallsyms: &str, wanted: &[&str]) -> String {
    let mut text: Vec<(u64, &str)> = kallsyms.lines().filter_map(function).collect();
    text.sort_by_key(|(address, _)| *address);
    let mut kept: BTreeMap<(u64, &str), ()> = BTreeMap::new();
    for (address, line) in &text {
        let name = name(line);
        if name == TEXT_END || wanted.iter().any(|wanted| is_variant(name, wanted)) {
            kept.insert((*address, line), ());
            let behind = text.partition_point(|(other, _)| other <= address);
            kept.extend(text.get(behind).map(|behind| (*behind, ())));
        }
    }
    kept.keys().map(|(_, line)| format!("{line}\n")).collect()
}

/// The address of a line about a function.
fn function(line: &str) -> Option<(u64, &str)> {
    let mut words = line.split_whitespace();
    let address = u64::from_str_radix(words.next()?, 16).ok()?;
    matches!(words.next()?, "t" | "T" | "w" | "W").then_some((address, line))
}

fn name(line: &str) -> &str {
    line.split_whitespace().nth(2).unwrap_or_default()
}

fn is_variant(name: &str, wanted: &str) -> bool {
    name.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '$']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted_comes_with_what_is_behind_it() {
        let all = "10 T a\n20 t b\n20 t b_alias\n28 d data\n30 t b.part.0\n40 T c\n50 T d\n60 T _etext\n70 T m\t[mod]\n";
        assert_eq!(cut(all, &["b", "m"]), "20 t b\n30 t b.part.0\n40 T c\n60 T _etext\n70 T m\t[mod]\n");
    }
}
