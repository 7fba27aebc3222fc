//! A writer of cpio archives in the format "newc", which the kernel unpacks as its first root.

/// The archive's bytes.
#[derive(Default)]
pub(super) struct Cpio {
    bytes: Vec<u8>,
    entries: u32,
}

const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const DEVICE: u32 = 0o020_600;
const LINK: u32 = 0o120_777;

impl Cpio {
    pub(super) fn folder(&mut self, path: &str) {
        self.entry(path, FOLDER, (0, 0), &[]);
    }

    pub(super) fn file(&mut self, path: &str, content: &[u8]) {
        self.entry(path, PROGRAM, (0, 0), content);
    }

    pub(super) fn link(&mut self, path: &str, to: &str) {
        self.entry(path, LINK, (0, 0), to.as_bytes());
    }

    pub(super) fn device(&mut self, path: &str, major: u32, minor: u32) {
        self.entry(path, DEVICE, (major, minor), &[]);
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.bytes
    }

    fn entry(&mut self, path: &str, mode: u32, device: (u32, u32), content: &[u8]) {
        self.entries += 1;
        let links = if mode == FOLDER { 2 } else { 1 };
        // Field after field of the header: inode, mode, uid, gid, links, mtime, size, device, rdev, name, check.
        let fields = [
            self.entries,
            mode,
            0,
            0,
            links,
            0,
            content.len() as u32,
            0,
            0,
            device.0,
            device.1,
            path.len() as u32 + 1,
            0,
        ];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08X}").as_bytes());
        }
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.align();
        self.bytes.extend_from_slice(content);
        self.align();
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(archive: &[u8], entry: usize, index: usize) -> u32 {
        let start = entry + 6 + 8 * index;
        let digits = std::str::from_utf8(&archive[start..start + 8]).expect("digits");
        u32::from_str_radix(digits, 16).expect("a number")
    }

    #[test]
    fn entries_stand_at_multiples_of_four() {
        let mut cpio = Cpio::default();
        cpio.folder("bin");
        cpio.file("bin/a", b"hello");
        cpio.device("dev/null", 1, 3);
        let archive = cpio.finish();
        let starts: Vec<usize> =
            (0..archive.len() - 6).filter(|&at| archive[at..].starts_with(b"070701")).collect();
        assert_eq!(starts.len(), 4);
        assert!(starts.iter().all(|start| start % 4 == 0));
        assert_eq!(field(&archive, starts[1], 6), 5);
        assert_eq!(field(&archive, starts[1], 11), 6);
        assert_eq!((field(&archive, starts[2], 9), field(&archive, starts[2], 10)), (1, 3));
        assert_eq!(&archive[starts[1] + 110..starts[1] + 115], b"bin/a");
        // 110 bytes of header and 6 of name: the content follows without a gap.
        assert_eq!(&archive[starts[1] + 116..starts[1] + 121], b"hello");
    }
}
