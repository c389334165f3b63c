//! Streams: what they took of some bytes stays written, unlike in a named file, which is cut back.

use std::{
    io::{self, ErrorKind, Write},
    os::fd::AsFd,
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    unistd,
};

/// How much was written of the bytes under way.
#[derive(Debug, Default)]
pub(super) struct PartialWrite(usize);

impl PartialWrite {
    /// Writes all bytes. After an error, as on a full disk, the same bytes are to be handed over again: it goes on behind what
    /// was taken of them.
    pub(super) fn write_all(&mut self, out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
        while let Some(rest) = bytes.get(self.0..).filter(|rest| !rest.is_empty()) {
            match out.write(rest) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(taken) => self.0 += taken,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        out.flush()?;
        self.0 = 0;
        Ok(())
    }
}

/// A stream without a buffer. Where it is full it is waited for, also if another process that shares it has set `O_NONBLOCK`.
pub(super) struct WaitingStream<S>(pub(super) S);

impl<S: AsFd> Write for WaitingStream<S> {
    /// Waits once: others may have filled it again meanwhile.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = match unistd::write(&self.0, bytes) {
            Err(Errno::EAGAIN) => {
                let mut polled = [PollFd::new(self.0.as_fd(), PollFlags::POLLOUT)];
                while poll(&mut polled, PollTimeout::NONE) == Err(Errno::EINTR) {}
                unistd::write(&self.0, bytes)
            }
            taken => taken,
        };
        Ok(taken?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::{
        io::{Read, pipe},
        iter, mem, thread,
    };

    use nix::fcntl::{FcntlArg, OFlag, fcntl};

    use super::*;

    /// Takes five bytes, then fails once, as a disk that is full for a while; so again and again.
    #[derive(Debug, Default)]
    pub(in crate::sink) struct Flaky {
        pub(in crate::sink) taken: Vec<u8>,
        attempts: usize,
    }

    impl Write for Flaky {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.attempts += 1;
            if self.attempts.is_multiple_of(2) {
                return Err(ErrorKind::StorageFull.into());
            }
            self.taken.write(&bytes[..bytes.len().min(5)])
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// How often it is attempted until all is written.
    fn attempts(mut attempt: impl FnMut() -> io::Result<()>) -> usize {
        let failed = iter::repeat_with(&mut attempt).take_while(Result::is_err);
        failed.take(1000).count() + 1
    }

    #[test]
    fn what_was_taken_before_an_error_is_not_written_twice() {
        let (mut out, mut partial) = (Flaky::default(), PartialWrite::default());
        for line in ["the first line\n", "2\n", "", "the third\n"] {
            attempts(|| partial.write_all(&mut out, line.as_bytes()));
        }
        let taken = String::from_utf8(out.taken).expect("text");
        assert_eq!(taken, "the first line\n2\nthe third\n");
    }

    /// Fails to flush once, as a writer does that has buffered the rest of a line.
    struct Unflushed(Vec<u8>, bool);

    impl Write for Unflushed {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            let is_first = !mem::replace(&mut self.1, true);
            if is_first {
                return Err(ErrorKind::StorageFull.into());
            }
            Ok(())
        }
    }

    #[test]
    fn what_could_not_be_flushed_is_not_written_twice() {
        let (mut out, mut partial) = (Unflushed(Vec::new(), false), PartialWrite::default());
        assert_eq!(attempts(|| partial.write_all(&mut out, b"line\n")), 2);
        assert_eq!(out.0, b"line\n");
    }

    #[test]
    fn a_full_pipe_is_waited_for_whatever_others_have_set() {
        let (mut reader, writer) = pipe().expect("a pipe");
        fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("set");
        let mut out = WaitingStream(writer);
        // More than a pipe holds.
        let bytes = vec![b'x'; 1 << 20];
        let expected = bytes.len();
        let writing = thread::spawn(move || PartialWrite::default().write_all(&mut out, &bytes));
        let mut read = Vec::new();
        reader.read_to_end(&mut read).expect("read");
        writing.join().expect("no panic").expect("written");
        assert_eq!(read.len(), expected);
    }
}
