//! What apt's own source files say: which Debian mirrors this machine uses, and the keys it trusts them by.

/// One entry of a sources file, in whichever of the two formats it stood.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) uris: Vec<String>,
    pub(super) suites: Vec<String>,
    /// The value of Signed-By, as it stands: files, or a whole key.
    pub(super) signed_by: Option<String>,
}

/// Debian's releases by every name that a sources file may use. Other distributions have none of them.
const RELEASES: &[&str] = &[
    "buster",
    "bullseye",
    "bookworm",
    "trixie",
    "forky",
    "duke",
    "sid",
    "oldoldstable",
    "oldstable",
    "stable",
    "testing",
    "unstable",
];

impl Source {
    /// Whether it is Debian's security archive, whose suites the main mirrors do not carry.
    pub(super) fn is_security(&self) -> bool {
        self.is_debian() && self.suites.iter().all(|suite| is_security(suite))
    }

    /// Whether it carries Debian's releases themselves.
    pub(super) fn is_main(&self) -> bool {
        self.is_debian() && self.suites.iter().any(|suite| RELEASES.contains(&suite.as_str()))
    }

    fn is_debian(&self) -> bool {
        let release = |suite: &str| suite.split(['-', '/']).next().unwrap_or_default().to_owned();
        self.suites.iter().any(|suite| RELEASES.contains(&release(suite).as_str()))
    }

    /// The same mirror with other suites, as an entry of a `.sources` file.
    pub(super) fn entry(&self, suites: &[&str], arch: &str) -> String {
        let mut entry = format!(
            "Types: deb\nURIs: {}\nSuites: {}\nComponents: main\nArchitectures: {arch}\nTargets: Packages\n",
            self.uris.join(" "),
            suites.join(" "),
        );
        if let Some(keys) = &self.signed_by {
            entry.push_str(&format!("Signed-By: {keys}\n"));
        }
        entry
    }
}

pub(super) fn is_security(suite: &str) -> bool {
    suite.ends_with("-security") || suite.ends_with("/updates")
}

/// Reads the one-line format: `deb [options] URI suite component…`.
pub(super) fn parse_list(text: &str) -> Vec<Source> {
    text.lines().filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<Source> {
    let line = line.split('#').next()?.trim();
    let rest = line.strip_prefix("deb").filter(|rest| rest.starts_with([' ', '\t']))?.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(bracket) => bracket.split_once(']')?,
        None => ("", rest),
    };
    let mut words = rest.split_whitespace();
    let (uri, suite) = (words.next()?, words.next()?);
    let keys = options.split_whitespace().find_map(|option| option.strip_prefix("signed-by="));
    Some(Source {
        uris: vec![uri.to_owned()],
        suites: vec![suite.to_owned()],
        // One line separates files by commas, a field by spaces.
        signed_by: keys.map(|keys| keys.replace(',', " ")),
    })
}

/// Reads the field format of `.sources` files: paragraphs of `Key: value`, continued by indented lines.
pub(super) fn parse_deb822(text: &str) -> Vec<Source> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    lines.split(|line| line.trim().is_empty()).filter_map(parse_paragraph).collect()
}

fn parse_paragraph(lines: &[&str]) -> Option<Source> {
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in lines {
        if line.starts_with([' ', '\t']) {
            let (_, value) = fields.last_mut()?;
            value.push('\n');
            value.push_str(line);
        } else {
            let (key, value) = line.split_once(':')?;
            fields.push((key.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    let field = |key: &str| fields.iter().find(|(name, _)| name == key).map(|(_, value)| value.clone());
    let words = |key: &str| -> Vec<String> {
        field(key).unwrap_or_default().split_whitespace().map(str::to_owned).collect()
    };
    let off = field("enabled").is_some_and(|value| ["no", "false", "0"].contains(&value.as_str()));
    if off || !words("types").contains(&"deb".to_owned()) {
        return None;
    }
    Some(Source { uris: words("uris"), suites: words("suites"), signed_by: field("signed-by") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_say_the_same() {
        let fields = "# a comment\nTypes: deb deb-src\nURIs: http://mirror/debian\nSuites: bookworm bookworm-updates\n\
                      Components: main\nSigned-By: /keys/a.gpg\n\nTypes: deb\nURIs: http://mirror/debian-security\n\
                      Suites: bookworm-security\nSigned-By:\n -----BEGIN KEY-----\n .\n abc\n";
        let parsed = parse_deb822(fields);
        assert_eq!(parsed.len(), 2);
        assert!(parsed[0].is_main() && !parsed[0].is_security());
        assert!(parsed[1].is_security() && !parsed[1].is_main());
        assert_eq!(parsed[1].signed_by.as_deref(), Some("\n -----BEGIN KEY-----\n .\n abc"));

        let line = "deb [arch=amd64 signed-by=/keys/a.gpg,/keys/b.gpg] http://mirror/debian bookworm main # yes\n\
                    deb-src http://mirror/debian bookworm main\n# deb http://mirror/debian sid main\n";
        let parsed = parse_list(line);
        assert_eq!(parsed.len(), 1);
        assert_eq!(parsed[0].uris, ["http://mirror/debian"]);
        assert_eq!(parsed[0].signed_by.as_deref(), Some("/keys/a.gpg /keys/b.gpg"));
    }

    #[test]
    fn what_is_switched_off_or_not_debian_does_not_count() {
        let off = "Types: deb\nURIs: http://m/debian\nSuites: sid\nEnabled: no\n";
        assert!(parse_deb822(off).is_empty());
        assert!(parse_deb822("Types: deb-src\nURIs: http://m/debian\nSuites: sid\n").is_empty());
        let other = parse_list("deb http://m/ubuntu jammy main\ndeb https://m/node nodistro main\n");
        assert_eq!(other.len(), 2);
        assert!(other.iter().all(|source| !source.is_main() && !source.is_security()));
    }

    #[test]
    fn an_entry_keeps_mirror_and_keys() {
        let source = &parse_list("deb [trusted=yes signed-by=/k.gpg] http://m/debian trixie main")[0];
        let entry = source.entry(&["forky", "bullseye"], "arm64");
        assert!(entry.contains("Suites: forky bullseye\n"));
        assert!(entry.contains("Signed-By: /k.gpg\n"));
        // A mirror that is trusted unsigned is not trusted so here.
        assert!(!entry.to_ascii_lowercase().contains("trusted"));
        assert_eq!(parse_deb822(&entry)[0].suites, ["forky", "bullseye"]);
    }
}
