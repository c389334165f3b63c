//! Lines of `/proc/net/unix` (`net/unix/af_unix.c`, `unix_seq_show`).

/// `__SO_ACCEPTCON` (`include/uapi/linux/net.h`): it listens.
const LISTENS: u32 = 1 << 16;
/// `SOCK_DGRAM` (`include/linux/net.h`).
const DATAGRAMS: u32 = 2;

/// A Unix socket that others may connect to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UnixEntry {
    /// Inode number of the socket, not of its file.
    pub inode: u64,
    /// Where it was bound, as the process that did it names that.
    pub path: String,
}

impl UnixEntry {
    /// `None` of sockets that nobody can connect to: those of accepted connections have their listener's path.
    pub fn parse(line: &str) -> Option<Self> {
        let mut fields = line.splitn(7, ' ').map(str::trim);
        let mut field = || fields.find(|field| !field.is_empty());
        let (_number, _references, _protocol) = (field()?, field()?, field()?);
        let mut hex = || u32::from_str_radix(field()?, 16).ok();
        let (flags, kind, _state) = (hex()?, hex()?, hex()?);
        // The inode number is aligned by spaces in front of it; a path may have spaces of its own.
        let (inode, path) = fields.next()?.trim_start().split_once(' ')?;
        let is_open = flags & LISTENS != 0 || kind == DATAGRAMS;
        (is_open && path.starts_with('/')).then_some(Self {
            inode: inode.parse().ok()?,
            path: path.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_and_datagram_sockets_with_a_path() {
        for (line, expected) in [
            (
                "0000000000000000: 00000002 00000000 00010000 0001 01 12345 /run/log.sock",
                Some((12345, "/run/log.sock")),
            ),
            (
                "0000000000000000: 00000002 00000000 00000000 0002 01   345 /dev/log",
                Some((345, "/dev/log")),
            ),
            (
                "0000000000000000: 00000002 00000000 00010000 0001 01 12345 /a path/log",
                Some((12345, "/a path/log")),
            ),
            // An accepted connection, an abstract name, and no name.
            (
                "0000000000000000: 00000003 00000000 00000000 0001 03 12346 /run/log.sock",
                None,
            ),
            (
                "0000000000000000: 00000002 00000000 00010000 0001 01 12347 @/tmp/bus",
                None,
            ),
            (
                "0000000000000000: 00000003 00000000 00000000 0001 03 12348",
                None,
            ),
            (
                "Num       RefCount Protocol Flags    Type St Inode Path",
                None,
            ),
        ] {
            let parsed = UnixEntry::parse(line);
            let parsed = parsed.as_ref().map(|entry| (entry.inode, &*entry.path));
            assert_eq!(parsed, expected, "{line}");
        }
    }
}
