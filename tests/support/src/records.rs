//! Records as the kernel side lays them out, and audit entries as OpenBao writes them.

use tracer_ebpf::abi::{
    ACCEPTED, ENTRY_BYTES, EntryRecord, IN_PROCESS, Kind, LogRecord, Record, StateRecord, Tcp,
    UNIX_PATH,
};

/// One of each kind; of entries, several sizes.
pub fn all() -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for kind in Kind::ALL {
        let mut bytes = record(kind);
        if kind == Kind::LogLine {
            bytes.extend(log_line());
        }
        if kind == Kind::State {
            bytes.extend(tcp());
        }
        if kind == Kind::Entry {
            for (name, entry) in entries() {
                all.push((
                    format!("entry, {name}"),
                    [bytes.clone(), sent(&entry)].concat(),
                ));
            }
        } else {
            all.push((format!("{kind:?}").to_lowercase(), bytes));
        }
    }
    all
}

/// Whole entries, of which the kernel side takes what fits: as most are, and large ones.
pub fn entries() -> Vec<(String, Vec<u8>)> {
    let named = |size| {
        let entry = entry(size);
        (format!("{} bytes", entry.len()), entry)
    };
    [0, 2000, 5000].map(named).into()
}

/// As OpenBao orders its fields. At least so many bytes: the request's own data fills it up.
fn entry(size: usize) -> Vec<u8> {
    let hash = "hmac-sha256:5f1b7a3c9d2e4f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8";
    let head = format!(
        r#"{{"time":"2026-11-23T05:57:03.934954324Z","type":"response","auth":{{"client_token":"{hash}","accessor":"{hash}","display_name":"approle","policies":["default","payments"],"token_policies":["default","payments"],"policy_results":{{"allowed":true}},"entity_id":"e4a9d9c2-6f0d-1f2c-6f3c-0f6b3b9f0c11","token_type":"service","token_ttl":2764800}},"request":{{"id":"aea61dbf-7b2f-4c5e-9d41-1c0f5f2f6f11","client_id":"e4a9d9c2","operation":"update","mount_point":"transit/","mount_type":"transit","client_token":"{hash}","namespace":{{"id":"root"}},"path":"transit/encrypt/payments","data":{{"plaintext":"{hash}""#
    );
    let tail = r#"},"remote_address":"10.77.0.9","remote_port":50222},"response":{"mount_type":"transit","data":{"key_version":1}}}"#;
    let mut entry = head;
    let mut fields = 0;
    while entry.len() + tail.len() < size {
        fields += 1;
        entry.extend([r#","field_"#, &fields.to_string(), r#"":""#, hash, "\""]);
    }
    entry.push_str(tail);
    entry.push('\n');
    entry.into_bytes()
}

fn record(kind: Kind) -> Vec<u8> {
    let value = if kind == Kind::State {
        1 << 8 | 4
    } else {
        1800
    };
    let accepted = matches!(kind, Kind::Receive | Kind::Send);
    let words = [
        4_582_888_751_420_u64,
        0xffff_8881_0203_0440,
        4_582_715_935_441,
        1397,
        1314,
        value,
        1800,
    ];
    let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let flags = IN_PROCESS | if accepted { ACCEPTED } else { 0 };
    bytes.extend((kind as u16).to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(6768_u32.to_ne_bytes());
    bytes.extend(15_i32.to_ne_bytes());
    // No status, nothing; the socket's name.
    for short in [0_u16, 0, 2, 6, 40_722, 1515] {
        bytes.extend(short.to_ne_bytes());
    }
    for host in [1_u8, 2] {
        bytes.extend([10, 77, 0, host]);
        bytes.extend([0; 12]);
    }
    assert_eq!(bytes.len(), size_of::<Record>());
    bytes
}

fn tcp() -> Vec<u8> {
    let numbers = [
        1_u32, 1000, 2800, 2800, 64_000, 1448, 4000, 87_040, 2400, 50, 1, 0, 0, 0,
    ];
    let bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_ne_bytes()).collect();
    assert_eq!(bytes.len(), size_of::<StateRecord>() - size_of::<Record>());
    assert_eq!(bytes.len(), size_of::<Tcp>());
    bytes
}

/// As OpenBao says that a device has failed.
fn log_line() -> Vec<u8> {
    let line = b"2026-11-30T04:42:06.689Z [ERROR] audit: backend failed to log request: backend=to-file/ error=\"write /var/log/audit.log: file already closed\"\n";
    let mut bytes = Vec::from((line.len() as u32).to_ne_bytes());
    bytes.extend([0; 4]);
    bytes.extend(line);
    bytes.resize(size_of::<LogRecord>() - size_of::<Record>(), 0);
    bytes
}

fn sent(entry: &[u8]) -> Vec<u8> {
    let len = entry.len().min(ENTRY_BYTES);
    let mut bytes = tcp();
    bytes.extend([0; UNIX_PATH]);
    bytes.extend((len as u32).to_ne_bytes());
    bytes.extend([0; 4]);
    bytes.extend(&entry[..len]);
    bytes.resize(size_of::<EntryRecord>() - size_of::<Record>(), 0);
    bytes
}
