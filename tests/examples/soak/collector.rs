//! A collector that lies.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::Result;

/// What it does with requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Conduct {
    Accepts,
    Silent,
    Garbage,
    Unavailable,
    Closes,
    Endless,
}

impl Conduct {
    const ALL: [Self; 6] = [
        Self::Accepts,
        Self::Silent,
        Self::Garbage,
        Self::Unavailable,
        Self::Closes,
        Self::Endless,
    ];
}

/// On an address of its own, until the process ends.
pub(crate) struct Collector {
    pub(crate) address: SocketAddr,
    conduct: Arc<AtomicU8>,
}

impl Collector {
    pub(crate) fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let conduct = Arc::<AtomicU8>::default();
        let its = Arc::clone(&conduct);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let conduct = Arc::clone(&its);
                // Who is gone needs no answer.
                thread::spawn(move || drop(serve(stream, &conduct)));
            }
        });
        Ok(Self { address, conduct })
    }

    pub(crate) fn becomes(&self, conduct: Conduct) {
        self.conduct.store(conduct as u8, Ordering::Relaxed);
    }
}

fn serve(mut stream: TcpStream, conduct: &AtomicU8) -> std::io::Result<()> {
    loop {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        let text = String::from_utf8_lossy(&head).to_lowercase();
        let length = text
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let length = length.and_then(|length| length.trim().parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        stream.read_exact(&mut body)?;
        match Conduct::ALL[usize::from(conduct.load(Ordering::Relaxed))] {
            Conduct::Accepts => {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")?;
            }
            Conduct::Silent => thread::sleep(Duration::from_mins(1)),
            Conduct::Garbage => {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 8\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff")?;
            }
            Conduct::Unavailable => {
                stream.write_all(
                    b"HTTP/1.1 503 Busy\r\nretry-after: 99999999999\r\ncontent-length: 0\r\n\r\n",
                )?;
            }
            Conduct::Closes => return Ok(()),
            Conduct::Endless => {
                stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
                loop {
                    stream.write_all(b"4\r\nlies\r\n")?;
                }
            }
        }
    }
}
