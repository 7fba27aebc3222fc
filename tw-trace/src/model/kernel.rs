//! Which timers a kernel gives to TIME_WAIT, by its version: three generations so far.

use std::fmt;

/// How TIME_WAIT is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generation {
    /// Up to 4.0: the death row of TIME_WAIT's own.
    DeathRow,
    /// 4.1 – 4.7: a timer each, by `mod_timer_pinned` (commit 789f558cfb36), on the cascading wheel, which moved a
    /// timer to a finer level before it was due and so fired it in the jiffy that was asked for.
    Cascading,
    /// Since 4.8: a timer each on the wheel that does not cascade (commit 500462a9de65).
    Wheel,
}

impl Generation {
    pub const fn name(self) -> &'static str {
        match self {
            Self::DeathRow => "death_row",
            Self::Cascading => "cascading_wheel",
            Self::Wheel => "timer_wheel",
        }
    }
}

/// The first two numbers of a kernel's version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    pub major: u32,
    pub minor: u32,
}

impl Version {
    /// From "6.12", "6.12.107-cloud-amd64", "7"; not from "4", where the minor number decides.
    pub fn parse(text: &str) -> Result<Self, String> {
        const WRITE: &str = "write it like 6.12 or 3.10";
        let (major, rest) = number(text).ok_or(WRITE)?;
        let minor = match rest.strip_prefix('.').map(number) {
            Some(Some((minor, rest))) if rest.is_empty() || rest.starts_with(['.', '-', '+', '_', ' ']) => {
                minor
            }
            None if rest.is_empty() && major != 4 => 0,
            None if rest.is_empty() => {
                return Err("timers differ between 4.0, 4.1 and 4.8: say which".to_owned());
            }
            Some(_) | None => return Err(WRITE.to_owned()),
        };
        let version = Self { major, minor };
        if version < (Self { major: 2, minor: 6 }) {
            return Err("kernels before 2.6 are not modelled".to_owned());
        }
        Ok(version)
    }

    pub const fn generation(self) -> Generation {
        match (self.major, self.minor) {
            (0..4, _) | (4, 0) => Generation::DeathRow,
            (4, 1..8) => Generation::Cascading,
            (4.., _) => Generation::Wheel,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The number at the beginning, and what follows it.
fn number(text: &str) -> Option<(u32, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, &text[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_their_timers() {
        for (text, generation) in [
            ("2.6.32", Generation::DeathRow),
            ("3.10.0-1160.el7.x86_64", Generation::DeathRow),
            ("4.0", Generation::DeathRow),
            ("4.1", Generation::Cascading),
            ("4.7.10", Generation::Cascading),
            ("4.8", Generation::Wheel),
            ("5.10", Generation::Wheel),
            ("6.12.107+deb13-cloud-amd64", Generation::Wheel),
            ("6.18-rc1", Generation::Wheel),
            ("7", Generation::Wheel),
        ] {
            assert_eq!(Version::parse(text).map(Version::generation), Ok(generation), "{text}");
        }
    }

    #[test]
    fn what_is_no_version_is_refused() {
        for text in ["", "x", "6.", "6.x", "6.12x", ".1", "-3", "99999999999.1", "2.4", "1.0", "6,12", "3x"] {
            assert!(Version::parse(text).is_err(), "{text}");
        }
        assert!(Version::parse("4").unwrap_err().contains("say which"));
    }
}
