//! The documentation's examples: every `tw-trace` command line in it is one that the program takes.

use std::{fs, path::Path};

use clap::Parser as _;
use tw_trace::cli::{Cli, Command};

const DOCS: &[&str] = &["README.md", "docs/ARCHITECTURE.md", "docs/performance.md", "docs/timer-wheel.md"];

/// Command lines in fenced `console` blocks, without the prompt and without what the shell does with the output.
fn examples() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut examples = Vec::new();
    for doc in DOCS {
        let text = fs::read_to_string(root.join(doc)).expect("a document of the project");
        let mut in_block = false;
        for line in text.lines() {
            match line.trim() {
                "```console" => in_block = true,
                "```" => in_block = false,
                line if in_block => {
                    let command = line.strip_prefix("# ").or_else(|| line.strip_prefix("$ ")).unwrap_or("");
                    if command.starts_with("tw-trace ") {
                        let command = command.split(['|', '>']).next().unwrap_or("").trim();
                        examples.push(((*doc).to_owned(), command.to_owned()));
                    }
                }
                _ => {}
            }
        }
    }
    examples
}

#[test]
fn every_example_is_a_command_line_that_the_program_takes() {
    let examples = examples();
    assert!(examples.len() >= 10, "only {} examples found", examples.len());
    for (doc, command) in &examples {
        let words = command.split_whitespace().map(|word| word.trim_matches('\''));
        if let Err(error) = Cli::try_parse_from(words) {
            panic!("{doc}: {command}\n{error}");
        }
    }
}

#[test]
fn the_readme_has_an_example_of_every_command() {
    let commands: Vec<_> = examples()
        .iter()
        .filter_map(|(_, command)| Cli::try_parse_from(command.split_whitespace()).ok())
        .map(|cli| match cli.command {
            Command::Trace(_) => "trace",
            Command::Hist(_) => "hist",
            Command::Wheel(_) => "wheel",
            Command::Model(_) => "model",
            Command::Doctor(_) => "doctor",
        })
        .collect();
    for command in ["trace", "hist", "wheel", "model", "doctor"] {
        assert!(commands.contains(&command), "no example of {command}");
    }
}
