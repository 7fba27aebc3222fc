//! The one place that decides what may reach a terminal as it is. A process chooses its name, and a user that of a cgroup
//! or a namespace: control characters would steer the terminal, and others would show the rest in another order, or hide.

use serde_json::Value;

/// Unicode's categories Cf (format), Zl, Zp and Co (private use), as ranges in order. Cc is `char::is_control`.
const UNSHOWN: &[(char, char)] = &[
    ('\u{ad}', '\u{ad}'),
    ('\u{600}', '\u{605}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{6dd}', '\u{6dd}'),
    ('\u{70f}', '\u{70f}'),
    ('\u{890}', '\u{891}'),
    ('\u{8e2}', '\u{8e2}'),
    ('\u{180e}', '\u{180e}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{2028}', '\u{202e}'),
    ('\u{2060}', '\u{206f}'),
    ('\u{e000}', '\u{f8ff}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{fff9}', '\u{fffb}'),
    ('\u{110bd}', '\u{110cd}'),
    ('\u{13430}', '\u{1343f}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0000}', '\u{e007f}'),
    ('\u{f0000}', '\u{10ffff}'),
];

/// Whether a character shows as itself and changes nothing around it.
pub fn is_plain(character: char) -> bool {
    let within = |(first, last): &(char, char)| (*first..=*last).contains(&character);
    !character.is_control() && (character.is_ascii() || !UNSHOWN.iter().any(within))
}

/// Text for a terminal: what is not plain becomes U+FFFD.
pub fn plain(text: &str) -> String {
    text.chars()
        .map(|character| if is_plain(character) { character } else { char::REPLACEMENT_CHARACTER })
        .collect()
}

/// The same for text of several lines.
pub fn lines(text: &str) -> String {
    let shown = |character| is_plain(character) || matches!(character, '\n' | '\t');
    text.chars()
        .map(|character| if shown(character) { character } else { char::REPLACEMENT_CHARACTER })
        .collect()
}

/// A JSON escape of one character: its value stays, and a terminal that shows the file is not steered.
pub fn push_json(line: &mut Vec<u8>, character: char) {
    for unit in character.encode_utf16(&mut [0; 2]) {
        line.extend_from_slice(b"\\u");
        for shift in [12, 8, 4, 0] {
            line.push(b"0123456789abcdef"[usize::from(*unit >> shift & 15)]);
        }
    }
}

/// A JSON value as text. Only strings hold characters that are not ASCII, so all that are not plain are escaped there.
pub fn json(value: &Value) -> Vec<u8> {
    let text = value.to_string();
    let mut line = Vec::with_capacity(text.len());
    for character in text.chars() {
        if is_plain(character) {
            line.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        } else {
            push_json(&mut line, character);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A name that a terminal would obey: colour, title, C1, DEL, right to left, zero width, a line of its own.
    const HOSTILE: &str = "a\u{1b}[31m\u{7}\u{9b}2J\u{7f}\u{202e}b\u{200b}\u{2028}\u{feff}\u{e0041}é→";

    #[test]
    fn nothing_that_steers_is_left() {
        assert_eq!(
            plain(HOSTILE),
            "a\u{fffd}[31m\u{fffd}\u{fffd}2J\u{fffd}\u{fffd}b\u{fffd}\u{fffd}\u{fffd}\u{fffd}é→"
        );
        assert_eq!(lines("a\n\tb\r"), "a\n\tb\u{fffd}");
        assert!("nginx/日本語 ü 🦀".chars().all(is_plain));
    }

    #[test]
    fn json_keeps_the_value_and_steers_nothing() {
        let value = serde_json::json!({"cgroup": HOSTILE});
        let text = String::from_utf8(json(&value)).unwrap();
        assert!(text.chars().all(is_plain), "{text:?}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }
}
