//! Numbers, addresses, names and times as bytes: what the line formats share, without formatting macros.

use std::io::Write as _;
use std::net::Ipv6Addr;
use std::time::{Duration, UNIX_EPOCH};

use tw_trace_common::event::{AF_INET, Owner};

use crate::escape;

pub const SECOND: u64 = 1_000_000_000;

#[inline]
pub fn push_str(line: &mut Vec<u8>, text: &str) {
    line.extend_from_slice(text.as_bytes());
}

#[inline]
pub fn push_u64(line: &mut Vec<u8>, number: u64) {
    // Every second number of a line is a single digit.
    if number < 10 {
        line.push(b'0' + number as u8);
    } else {
        line.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    }
}

/// Exactly `N` digits.
#[inline]
fn push_digits<const N: usize>(line: &mut Vec<u8>, mut number: u64) {
    let mut digits = [b'0'; N];
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
    line.extend_from_slice(&digits);
}

/// Fills up with blanks to `width` columns from `began`; returns the columns that were used beyond them.
pub fn pad(line: &mut Vec<u8>, began: usize, width: usize) -> usize {
    let used = columns(&line[began..]);
    line.resize(line.len() + width.saturating_sub(used), b' ');
    used.saturating_sub(width)
}

/// Characters, of which all of ours are one column wide.
pub fn columns(text: &[u8]) -> usize {
    // All bytes of a character but its first are 10xxxxxx.
    text.iter().filter(|&&byte| byte & 0xc0 != 0x80).count()
}

/// "61.923 s"
pub fn push_seconds(line: &mut Vec<u8>, ns: u64) {
    push_thousandths(line, ns, SECOND, " s");
}

/// In a unit that fits: "850 ns", "12.345 ms", "61.923 s", "12 min 3 s", "2 h 5 min".
pub fn push_duration(line: &mut Vec<u8>, ns: u64) {
    match ns {
        0..1_000 => {
            push_u64(line, ns);
            push_str(line, " ns");
        }
        1_000..1_000_000 => push_thousandths(line, ns, 1_000, " µs"),
        1_000_000..SECOND => push_thousandths(line, ns, 1_000_000, " ms"),
        _ => match ns / SECOND {
            0..600 => push_seconds(line, ns),
            seconds @ 600..7_200 => push_pair(line, seconds / 60, " min ", seconds % 60, " s"),
            seconds => push_pair(line, seconds / 3_600, " h ", seconds % 3_600 / 60, " min"),
        },
    }
}

/// Like [`push_duration`], in whole microseconds or milliseconds: "212 µs", "3 ms".
pub fn push_short(line: &mut Vec<u8>, ns: u64) {
    let unit_ns = match ns {
        0..1_000 => 1,
        1_000..1_000_000 => 1_000,
        _ => 1_000_000,
    };
    push_round(line, ns - ns % unit_ns);
}

fn push_thousandths(line: &mut Vec<u8>, ns: u64, unit_ns: u64, unit: &str) {
    push_u64(line, ns / unit_ns);
    line.push(b'.');
    push_digits::<3>(line, ns % unit_ns * 1_000 / unit_ns);
    push_str(line, unit);
}

fn push_pair(line: &mut Vec<u8>, large: u64, large_unit: &str, small: u64, small_unit: &str) {
    push_u64(line, large);
    push_str(line, large_unit);
    push_u64(line, small);
    push_str(line, small_unit);
}

/// Like [`push_duration`], for values that were asked for: without zeros at the end ("60 s").
pub fn push_round(line: &mut Vec<u8>, ns: u64) {
    let began = line.len();
    push_duration(line, ns);
    let Some(unit) = line[began..].iter().position(|&byte| byte == b' ') else { return };
    let number = &line[began..began + unit];
    if number.contains(&b'.') {
        let kept = number.trim_ascii_end().iter().rposition(|&b| b != b'0').map_or(0, |last| last + 1);
        let kept = if number[..kept].ends_with(b".") { kept - 1 } else { kept };
        line.drain(began + kept..began + unit);
    }
}

/// Text of [`push_duration`].
pub fn duration(ns: u64) -> String {
    text(|line| push_duration(line, ns))
}

/// Text of [`push_round`].
pub fn round(ns: u64) -> String {
    text(|line| push_round(line, ns))
}

fn text(push: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut line = Vec::new();
    push(&mut line);
    String::from_utf8_lossy(&line).into_owned()
}

/// RFC 3339 in UTC with nanoseconds. Keeps the text of the last second: there are many events in one.
pub struct Clock {
    second: u64,
    /// Up to the decimal point.
    prefix: Vec<u8>,
}

impl Clock {
    pub const fn new() -> Self {
        Self { second: u64::MAX, prefix: Vec::new() }
    }

    pub fn push(&mut self, line: &mut Vec<u8>, realtime_ns: u64) {
        let second = realtime_ns / SECOND;
        if second != self.second {
            self.second = second;
            let time = UNIX_EPOCH + Duration::from_secs(second);
            self.prefix = humantime::format_rfc3339_seconds(time).to_string().into_bytes();
            self.prefix.pop();
            self.prefix.push(b'.');
        }
        line.extend_from_slice(&self.prefix);
        push_digits::<9>(line, realtime_ns % SECOND);
        line.push(b'Z');
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

/// An address as text. Keeps the last one: it is mostly the same, and IPv6 takes its time.
#[derive(Default)]
pub struct Address {
    family: u16,
    addr: [u8; 16],
    text: Vec<u8>,
}

impl Address {
    /// Without brackets; v4-mapped addresses as "::ffff:192.0.2.1".
    pub fn push(&mut self, line: &mut Vec<u8>, family: u16, addr: &[u8; 16]) {
        if self.family != family || self.addr != *addr {
            self.family = family;
            self.addr = *addr;
            self.text.clear();
            if family == AF_INET {
                push_ipv4(&mut self.text, addr);
            } else {
                // Writing to a Vec does not fail.
                let _ = write!(self.text, "{}", Ipv6Addr::from(*addr));
            }
        }
        line.extend_from_slice(&self.text);
    }
}

fn push_ipv4(line: &mut Vec<u8>, addr: &[u8; 16]) {
    for (index, byte) in addr[..4].iter().enumerate() {
        if index > 0 {
            line.push(b'.');
        }
        push_u64(line, (*byte).into());
    }
}

/// The bytes of a `comm` up to the first NUL.
pub fn comm_bytes(comm: &[u8; 16]) -> &[u8] {
    let end = comm.iter().position(|&byte| byte == 0).unwrap_or(comm.len());
    &comm[..end]
}

/// A `comm` for a terminal: anyone can put control characters into a process name.
pub fn push_comm(line: &mut Vec<u8>, comm: &[u8; 16]) {
    let bytes = comm_bytes(comm);
    if bytes.iter().all(|byte| (0x20..0x7f).contains(byte)) {
        line.extend_from_slice(bytes);
        return;
    }
    for character in String::from_utf8_lossy(bytes).chars() {
        let shown = if escape::is_plain(character) { character } else { char::REPLACEMENT_CHARACTER };
        push_str(line, shown.encode_utf8(&mut [0; 4]));
    }
}

/// An address, and the index of the interface that a socket is bound to, zero for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scoped<'a> {
    pub family: u16,
    pub addr: &'a [u8; 16],
    pub ifindex: u32,
}

impl Scoped<'_> {
    /// "192.0.2.1", "fe80::1%3"
    pub fn push(self, line: &mut Vec<u8>, address: &mut Address) {
        address.push(line, self.family, self.addr);
        if self.ifindex != 0 {
            line.push(b'%');
            push_u64(line, self.ifindex.into());
        }
    }

    /// "192.0.2.1:40000", "192.0.2.1%3:40000", "[2001:db8::1]:40000", "[fe80::1%3]:40000"
    pub fn push_endpoint(self, line: &mut Vec<u8>, address: &mut Address, port: u16) {
        if self.family == AF_INET {
            self.push(line, address);
        } else {
            line.push(b'[');
            self.push(line, address);
            line.push(b']');
        }
        line.push(b':');
        push_u64(line, port.into());
    }
}

/// "client[1234]", "-" when unknown.
pub fn push_owner(line: &mut Vec<u8>, owner: &Owner) {
    match (comm_bytes(&owner.comm), owner.pid) {
        ([], 0) => line.push(b'-'),
        ([], _) => line.push(b'?'),
        _ => push_comm(line, &owner.comm),
    }
    if owner.pid != 0 {
        line.push(b'[');
        push_u64(line, owner.pid.into());
        line.push(b']');
    }
}

/// A JSON string with its quotes. Bytes that are not UTF-8 become U+FFFD.
pub fn push_json(line: &mut Vec<u8>, bytes: &[u8]) {
    line.push(b'"');
    if bytes.iter().all(|&byte| (0x20..0x7f).contains(&byte) && byte != b'"' && byte != b'\\') {
        line.extend_from_slice(bytes);
    } else {
        for character in String::from_utf8_lossy(bytes).chars() {
            push_json_char(line, character);
        }
    }
    line.push(b'"');
}

fn push_json_char(line: &mut Vec<u8>, character: char) {
    match character {
        '"' => push_str(line, "\\\""),
        '\\' => push_str(line, "\\\\"),
        '\n' => push_str(line, "\\n"),
        '\t' => push_str(line, "\\t"),
        plain if escape::is_plain(plain) => push_str(line, plain.encode_utf8(&mut [0; 4])),
        other => escape::push_json(line, other),
    }
}

#[cfg(test)]
mod tests;
