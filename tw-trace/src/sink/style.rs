//! Colours, for outputs that are asked for them.

/// Whether the output goes to something that understands colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    #[default]
    Plain,
    Colour,
}

impl Style {
    /// Starts a colour.
    pub(crate) fn on(self, colour: Colour) -> &'static str {
        match (self, colour) {
            (Self::Plain, _) => "",
            (Self::Colour, Colour::Dim) => "\x1b[2m",
            (Self::Colour, Colour::Good) => "\x1b[32m",
            (Self::Colour, Colour::Note) => "\x1b[36m",
            (Self::Colour, Colour::Odd) => "\x1b[33m",
            (Self::Colour, Colour::Bad) => "\x1b[1;31m",
        }
    }

    /// Ends it.
    pub(crate) fn off(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Colour => "\x1b[0m",
        }
    }
}

/// What a colour is for.
#[derive(Clone, Copy)]
pub(crate) enum Colour {
    Dim,
    Good,
    Note,
    Odd,
    Bad,
}
