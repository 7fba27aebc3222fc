//! Each piece against what the standard library or serde_json makes of it.

use tw_trace_common::event::AF_INET6;

use super::*;
use crate::made_up::Random;

#[test]
fn durations_read_well() {
    for (ns, expected) in [
        (0, "0 ns"),
        (999, "999 ns"),
        (1_500, "1.500 µs"),
        (12_345_678, "12.345 ms"),
        (61_923_456_789, "61.923 s"),
        (723 * SECOND, "12 min 3 s"),
        (7_500 * SECOND, "2 h 5 min"),
    ] {
        assert_eq!(duration(ns), expected);
    }
    for (ns, expected) in
        [(60 * SECOND, "60 s"), (3_500_000_000, "3.5 s"), (200_000_000, "200 ms"), (20, "20 ns"), (0, "0 ns")]
    {
        assert_eq!(round(ns), expected);
    }
}

#[test]
fn small_parts_are_short() {
    for (ns, expected) in [
        (0, "0 ns"),
        (999, "999 ns"),
        (212_999, "212 µs"),
        (3_000_000, "3 ms"),
        (48_700_000, "48 ms"),
        (1_872_000_000, "1.872 s"),
    ] {
        assert_eq!(text(|line| push_short(line, ns)), expected);
    }
}

#[test]
fn times_are_rfc_3339_with_nanoseconds() {
    let mut clock = Clock::new();
    let mut random = Random::new(5);
    for _ in 0..1_000 {
        let ns = random.below(4_000_000_000 * SECOND);
        let expected = humantime::format_rfc3339_nanos(UNIX_EPOCH + Duration::from_nanos(ns)).to_string();
        assert_eq!(text(|line| clock.push(line, ns)), expected);
        assert_eq!(text(|line| clock.push(line, ns)), expected);
    }
}

#[test]
fn addresses_are_what_the_standard_library_makes_of_them() {
    let mut address = Address::default();
    let mut random = Random::new(6);
    for _ in 0..1_000 {
        let mut addr = [0u8; 16];
        addr.fill_with(|| (random.below(512) as u8).saturating_sub(128));
        let v4 = std::net::Ipv4Addr::new(addr[0], addr[1], addr[2], addr[3]).to_string();
        assert_eq!(text(|line| address.push(line, AF_INET, &addr)), v4);
        assert_eq!(text(|line| address.push(line, AF_INET6, &addr)), Ipv6Addr::from(addr).to_string());
    }
    let mapped = Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0xc000, 0x0207).octets();
    assert_eq!(text(|line| address.push(line, AF_INET6, &mapped)), "::ffff:192.0.2.7");
}

#[test]
fn json_strings_parse_back() {
    let mut random = Random::new(8);
    for _ in 0..5_000 {
        let mut bytes = vec![0u8; random.below(20) as usize];
        bytes.fill_with(|| random.below(256) as u8);
        let mut line = Vec::new();
        push_json(&mut line, &bytes);
        let parsed: String = serde_json::from_slice(&line).expect("valid JSON");
        assert_eq!(parsed, String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn a_process_name_cannot_steer_the_terminal() {
    assert_eq!(text(|line| push_comm(line, b"\x1b[31mred\0\0\0\0\0\0\0\0")), "\u{fffd}[31mred");
    assert_eq!(text(|line| push_comm(line, b"0123456789abcdef")), "0123456789abcdef");
}

#[test]
fn padding_counts_columns_not_bytes() {
    let mut line = b"ab".to_vec();
    push_str(&mut line, "→");
    assert_eq!(pad(&mut line, 0, 6), 0);
    assert_eq!(String::from_utf8_lossy(&line), "ab→   ");
    assert_eq!(pad(&mut line, 1, 2), 3);
    assert_eq!(line.len(), 8);
}
