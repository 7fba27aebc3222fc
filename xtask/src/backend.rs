//! tw-trace's backends, as the suite and the matrix name them.

use clap::ValueEnum;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Backend {
    Fentry,
    Kprobe,
    Tracepoint,
}

impl Backend {
    pub const ALL: [Self; 3] = [Self::Fentry, Self::Kprobe, Self::Tracepoint];

    pub fn name(self) -> &'static str {
        match self {
            Self::Fentry => "fentry",
            Self::Kprobe => "kprobe",
            Self::Tracepoint => "tracepoint",
        }
    }

    /// The backend of this name.
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|backend| backend.name() == name)
    }

    /// One letter for the head of a narrow column.
    pub fn letter(self) -> char {
        match self {
            Self::Fentry => 'f',
            Self::Kprobe => 'k',
            Self::Tracepoint => 't',
        }
    }
}
