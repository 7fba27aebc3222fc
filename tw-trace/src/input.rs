//! Files that a command line names: opened without waiting for anybody, refused if they are no files, read in bounds.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufRead as _, BufReader, Read as _},
    os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _},
    path::Path,
};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use serde_json::Value;

/// The largest file that is read whole: the types of the largest kernels are a tenth of it.
pub const LARGEST: u64 = 128 << 20;
/// No line that tw-trace prints is nearly as long.
const LONGEST_LINE: u64 = 1 << 22;

/// Opens a regular file, or a pipe that somebody writes into. The error says what else it is.
///
/// A FIFO without a writer is empty instead of waiting for one. Devices are never read.
pub fn open(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
    let kind = file.metadata()?.file_type();
    let what = if kind.is_file() || kind.is_fifo() {
        // Readers of a pipe wait for its writer from here on.
        let flags = OFlag::from_bits_retain(fcntl(&file, FcntlArg::F_GETFL)?);
        fcntl(&file, FcntlArg::F_SETFL(flags & !OFlag::O_NONBLOCK))?;
        return Ok(file);
    } else if kind.is_dir() {
        "a folder"
    } else if kind.is_char_device() || kind.is_block_device() {
        "a device"
    } else {
        "no regular file"
    };
    Err(io::Error::new(io::ErrorKind::InvalidInput, format!("it is {what}, which is not read")))
}

/// All bytes of a file of at most 128 MiB.
pub fn read_whole(file: File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        let why = format!("it is larger than {} MiB", LARGEST >> 20);
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    match foreign(&bytes) {
        Some(why) => Err(io::Error::new(io::ErrorKind::InvalidData, why)),
        None => Ok(bytes),
    }
}

/// How files begin that are neither types nor lines of JSON, or hold these in another form; and what to do then.
const FOREIGN: &[(&[u8], &str)] = &[
    (b"\x1f\x8b", "it is compressed by gzip; unpack it first (`zcat FILE`)"),
    (b"\x28\xb5\x2f\xfd", "it is compressed by zstd; unpack it first (`zstdcat FILE`)"),
    (b"\xfd7zXZ\0", "it is compressed by xz; unpack it first (`xzcat FILE`)"),
    (b"BZh", "it is compressed by bzip2; unpack it first (`bzcat FILE`)"),
    (b"\x04\x22\x4d\x18", "it is compressed by lz4; unpack it first (`lz4cat FILE`)"),
    (b"PK\x03\x04", "it is a zip archive; unpack it first (`unzip -p FILE`)"),
    (
        b"\xef\xbb\xbf",
        "it begins with a byte order mark, which an editor wrote; leave that out (`tail -c +4 FILE`)",
    ),
    (b"\xff\xfe", UTF_16),
    (b"\xfe\xff", UTF_16),
    (b"{\0", UTF_16),
    (b"\0{", UTF_16),
    (
        b"{\"log\":",
        "it is a container's log as Docker keeps it; take the lines out of it (`jq -rj .log FILE`)",
    ),
];
const UTF_16: &str =
    "it is UTF-16 text, as PowerShell writes it; convert it first (`iconv -f UTF-16 -t UTF-8 FILE`)";

/// What a file is that begins like this, where it is plainly not what was asked for.
fn foreign(begin: &[u8]) -> Option<&'static str> {
    FOREIGN.iter().find(|(mark, _)| begin.starts_with(mark)).map(|(_, why)| *why)
}

/// The lines of a run that was saved, one at a time, whatever its size.
pub struct Lines<R> {
    input: R,
    line: Vec<u8>,
    number: u64,
}

/// A line of a file, counted from one.
pub struct Line<'a> {
    pub number: u64,
    pub bytes: &'a [u8],
}

impl Line<'_> {
    /// The last line of a run that was killed may be cut off; the first one tells whether it is a run at all.
    pub fn may_be_cut(&self) -> bool {
        self.number > 1 && !self.bytes.ends_with(b"\n")
    }
}

impl Lines<BufReader<File>> {
    /// Of the file at this path, as [`open`] takes it.
    pub fn of(path: &Path) -> io::Result<Self> {
        Ok(Self::new(BufReader::with_capacity(1 << 16, open(path)?)))
    }
}

impl<R: io::BufRead> Lines<R> {
    pub const fn new(input: R) -> Self {
        Self { input, line: Vec::new(), number: 0 }
    }

    /// The next line, with its end; `None` after the last one. The error says which line cannot be read, and why.
    pub fn read(&mut self) -> Result<Option<Line<'_>>, String> {
        self.line.clear();
        self.number += 1;
        let read = (&mut self.input).take(LONGEST_LINE).read_until(b'\n', &mut self.line);
        if read.map_err(|error| format!("line {}: {error}", self.number))? == 0 {
            return Ok(None);
        }
        if self.number == 1
            && let Some(why) = foreign(&self.line)
        {
            return Err(why.to_owned());
        }
        if self.line.len() as u64 == LONGEST_LINE && !self.line.ends_with(b"\n") {
            return Err(format!("line {} is longer than 4 MiB", self.number));
        }
        Ok(Some(Line { number: self.number, bytes: &self.line }))
    }
}

/// A number of sockets, timers or records: so bounded that no sum of those in a line overflows.
pub fn count(value: &Value) -> Option<u64> {
    value.as_u64().filter(|count| *count < 1 << 44)
}

/// A time or a duration in nanoseconds, or in jiffies: so bounded that two of them can be added.
pub fn time(value: &Value) -> Option<u64> {
    value.as_u64().filter(|time| *time < 1 << 62)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::{sys::stat::Mode, unistd::mkfifo};

    fn refusal(path: &Path) -> String {
        open(path).and_then(read_whole).expect_err("it is refused").to_string()
    }

    #[test]
    fn what_is_no_file_is_refused_at_once() {
        assert!(refusal(Path::new("/dev/zero")).contains("it is a device"));
        assert!(refusal(Path::new("/proc")).contains("it is a folder"));
        assert!(refusal(Path::new("/surely/not/there")).contains("No such file"));
    }

    #[test]
    fn a_fifo_that_nobody_writes_into_is_empty() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fifo");
        mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
        assert_eq!(read_whole(open(&path).unwrap()).unwrap(), b"");
        assert!(Lines::of(&path).unwrap().read().unwrap().is_none());
    }

    #[test]
    fn a_pipe_that_somebody_writes_into_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fifo");
        mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
        // Open for both ends, so that neither open waits for the other.
        let writer = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let mut lines = Lines::of(&path).unwrap();
        let late = std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(50));
            io::Write::write_all(&mut &writer, b"a line\n").unwrap();
        });
        assert_eq!(lines.read().unwrap().unwrap().bytes, b"a line\n");
        late.join().unwrap();
    }

    #[test]
    fn a_file_without_end_takes_no_memory() {
        let sparse = tempfile::tempfile().unwrap();
        sparse.set_len(10 << 30).unwrap();
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&sparse));
        assert!(refusal(Path::new(&path)).contains("larger than 128 MiB"));
        let mut lines = Lines::of(Path::new(&path)).unwrap();
        assert_eq!(lines.read().err().unwrap(), "line 1 is longer than 4 MiB");
    }

    #[test]
    fn what_looks_like_another_file_is_named() {
        let [json, types] = [b"{\"event\":\"header\"}\n", &b"\x9f\xeb\x01\0"[..]];
        assert_eq!((foreign(json), foreign(types), foreign(b"")), (None, None, None));
        let utf16: Vec<u8> =
            String::from_utf8_lossy(json).encode_utf16().flat_map(u16::to_le_bytes).collect();
        for (begin, named) in [
            (&b"\x1f\x8b\x08\0"[..], "zcat"),
            (b"\x28\xb5\x2f\xfd", "zstdcat"),
            (b"\xfd7zXZ\0", "xzcat"),
            (b"BZh91AY", "bzcat"),
            (b"PK\x03\x04", "unzip"),
            (b"\xef\xbb\xbf{}", "byte order mark"),
            (&utf16, "UTF-16"),
            (b"\xff\xfe{\0", "iconv"),
            (b"{\"log\":\"{}\"}", "Docker"),
        ] {
            let said = Lines::new(begin).read().err().expect("it is refused");
            assert!(said.contains(named), "{said}");
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"\x1f\x8b\x08\0").unwrap();
        assert!(refusal(file.path()).contains("gzip"));
        // Only a file begins so, not any line.
        let mut lines = Lines::new(&b"{}\nBZh\n"[..]);
        assert!(lines.read().is_ok() && lines.read().is_ok());
    }

    #[test]
    fn lines_are_counted_and_the_last_may_be_cut() {
        let mut lines = Lines::new(&b"{}\n{\"a\""[..]);
        assert!(!lines.read().unwrap().unwrap().may_be_cut());
        let last = lines.read().unwrap().unwrap();
        assert_eq!((last.number, last.may_be_cut()), (2, true));
        assert!(lines.read().unwrap().is_none());
        assert!(!Lines::new(&b"{"[..]).read().unwrap().unwrap().may_be_cut());
    }
}
