//! How a test says that it cannot run here: libtest knows no such end, `cargo xtask test` counts these lines.

/// Says that the test was skipped; it returns afterwards.
pub(crate) fn skip(test: &str, reason: impl std::fmt::Display) {
    eprintln!("tw-trace-skip: {test}: {reason}");
}
