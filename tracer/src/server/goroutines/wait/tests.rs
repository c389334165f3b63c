use super::{
    super::{function_name::FunctionName, roles::DeviceStyle},
    *,
};

const AUDIT: &str = "github.com/openbao/openbao/v2/internal/builtin/audit";
const EVENT: &str = "github.com/hashicorp/vault/internal/observability/event";

/// Parses a stack, innermost first, where `AUDIT` and `EVENT` stand for their packages.
fn stack(names: &str) -> Vec<Option<KnownFunction>> {
    let names = names.replace("AUDIT", AUDIT).replace("EVENT", EVENT);
    let known = |name: &str| KnownFunction::of(FunctionName::parse(name.as_bytes())?);
    names.split_whitespace().map(known).collect()
}

fn wait(names: &str) -> Option<DeviceWait> {
    let known = stack(names);
    find(&known.iter().map(Option::as_ref).collect::<Vec<_>>())
}

fn reason_of(names: &str) -> Option<WaitReason> {
    wait(names).map(|wait| wait.reason)
}

const MUTEX: &str = "runtime.gopark runtime.semacquire1 internal/sync.runtime_SemacquireMutex internal/sync.(*Mutex).lockSlow";
const RW_MUTEX: &str =
    "runtime.gopark runtime.semacquire1 sync.runtime_SemacquireRWMutex sync.(*RWMutex).Lock";
const SELECT: &str = "runtime.gopark runtime.selectgo";
const RECEIVE: &str = "runtime.gopark runtime.chanrecv runtime.chanrecv1";
const SEND: &str = "runtime.gopark runtime.chansend runtime.chansend1";
const CONDITION: &str = "runtime.gopark sync.runtime_notifyListWait sync.(*Cond).Wait";
const POOL: &str = "github.com/hashicorp/go-secure-stdlib/permitpool.(*Pool).Acquire";
const UNKNOWN_POOL: &str = "example.com/queue.Gate.Enter example.com/queue.enter[go.shape.int]";
const IO_WAIT: &str = "runtime.gopark runtime.netpollblock internal/poll.runtime_pollWait internal/poll.(*pollDesc).wait";
const OUTSIDE: &str = "github.com/hashicorp/vault/audit.(*sinkMetricTimer).Process EVENT.MetricsCounter.Process github.com/hashicorp/eventlogger.(*graph).doProcess";
const FORMATTER: &str = "github.com/openbao/openbao/v2/audit.(*AuditFormatter).FormatRequest";

/// Functions of devices, innermost first, in whose code goroutines queue.
const DEVICES: [&str; 9] = [
    "EVENT.(*SocketSink).acquirePermit EVENT.(*SocketSink).Process",
    "EVENT.(*SocketSink).Process",
    "EVENT.(*FileSink).acquirePermit EVENT.(*FileSink).log EVENT.(*FileSink).Process",
    "EVENT.(*FileSink).log EVENT.(*FileSink).Process",
    "github.com/hashicorp/vault/audit.(*AuditSocketSink).Process",
    "AUDIT/socket.(*Backend).LogRequest",
    "AUDIT/file.(*Backend).log AUDIT/file.(*Backend).LogResponse",
    "github.com/hashicorp/go-syslog.(*builtinWriter).writeAndRetry EVENT.(*SyslogSink).Process",
    "AUDIT/http.(*Backend).LogRequest",
];

#[test]
fn a_wait_in_a_device_is_a_queue_by_whatever_primitive() {
    for primitive in [MUTEX, RW_MUTEX, SELECT, RECEIVE, SEND, CONDITION] {
        for wrapper in ["", POOL, UNKNOWN_POOL] {
            for device in DEVICES {
                let names = format!("{primitive} {wrapper} {device} {OUTSIDE}");
                assert_eq!(reason_of(&names), Some(WaitReason::Lock), "{names}");
            }
        }
    }
}

#[test]
fn input_and_output_of_a_device_is_no_queue() {
    let file = "EVENT.(*FileSink).log EVENT.(*FileSink).Process";
    let socket = "EVENT.(*SocketSink).connect EVENT.(*SocketSink).Process";
    let http = "AUDIT/http.(*Backend).LogRequest";
    for (calls, device, expected) in [
        (
            format!("{IO_WAIT} internal/poll.(*FD).Write os.(*File).Write bytes.(*Reader).WriteTo"),
            file,
            WaitReason::Write,
        ),
        // Two writers of one file.
        (
            "runtime.semacquire1 internal/poll.(*fdMutex).rwlock internal/poll.(*FD).Write os.(*File).Write".to_owned(),
            file,
            WaitReason::Write,
        ),
        ("syscall.Syscall6 os.OpenFile".to_owned(), file, WaitReason::Open),
        ("syscall.Syscall syscall.fsync".to_owned(), file, WaitReason::Other),
        (IO_WAIT.to_owned(), file, WaitReason::Other),
        ("runtime.gopark time.Sleep".to_owned(), socket, WaitReason::Other),
        // Until the garbage collector has made room.
        ("runtime.gopark runtime.gcParkAssist runtime.mallocgc".to_owned(), socket, WaitReason::Other),
        (
            format!("{SELECT} net.(*sysDialer).dialParallel net.(*Dialer).DialContext"),
            socket,
            WaitReason::Connect,
        ),
        (
            format!("{SELECT} net.(*Resolver).lookupIPAddr net.(*Dialer).DialContext"),
            socket,
            WaitReason::Resolve,
        ),
        (
            format!("{MUTEX} {IO_WAIT} net.(*netFD).connect"),
            socket,
            WaitReason::Connect,
        ),
        (
            format!("{SELECT} net/http.(*Transport).getConn net/http.(*Client).do"),
            http,
            WaitReason::Connect,
        ),
        (
            format!("{SELECT} net/http.(*persistConn).roundTrip net/http.(*Client).do"),
            http,
            WaitReason::Answer,
        ),
        (
            format!("{CONDITION} net/http.(*http2pipe).Read net/http.(*bodyEOFSignal).Read"),
            http,
            WaitReason::Answer,
        ),
        (
            format!("{RECEIVE} net/http.(*http2clientConnPool).getClientConn net/http.(*Client).do"),
            http,
            WaitReason::Connect,
        ),
    ] {
        let names = format!("{calls} {device} {OUTSIDE}");
        assert_eq!(reason_of(&names), Some(expected), "{names}");
    }
}

#[test]
fn another_lock_is_not_the_devices() {
    for calls in [
        format!("AUDIT/socket.(*Backend).Salt {FORMATTER}"),
        format!(
            "github.com/hashicorp/vault/sdk/helper/salt.NewSalt AUDIT/socket.(*Backend).Salt {FORMATTER}"
        ),
        // The salt is in a storage elsewhere.
        format!("net/http.(*persistConn).roundTrip AUDIT/socket.(*Backend).Salt {FORMATTER}"),
        FORMATTER.to_owned(),
        "github.com/hashicorp/vault/audit.HashAuth".to_owned(),
        "github.com/hashicorp/vault/audit.(*entryFormatter).Process".to_owned(),
        "sync.(*WaitGroup).Wait encoding/json.typeEncoder encoding/json.Marshal".to_owned(),
        "crypto/hmac.(*hmac).Sum".to_owned(),
    ] {
        for primitive in [MUTEX, RW_MUTEX, SELECT, RECEIVE] {
            for device in DEVICES {
                let names = format!("{primitive} {calls} {device}");
                assert_eq!(reason_of(&names), Some(WaitReason::Other), "{names}");
            }
        }
    }
}

#[test]
fn the_broker_waits_for_its_own_lock_only() {
    let broker = "github.com/hashicorp/vault/vault.(*AuditBroker).LogRequest";
    let sent = "github.com/hashicorp/eventlogger.(*graph).process github.com/hashicorp/eventlogger.(*Broker).Send";
    let rw_mutex = "runtime.semacquire1 sync.runtime_SemacquireRWMutexR";
    assert_eq!(
        reason_of(&format!("{rw_mutex} {broker}")),
        Some(WaitReason::Lock)
    );
    for calls in [
        format!("{SELECT} {sent}"),
        format!("{MUTEX} {sent}"),
        format!("{MUTEX} {UNKNOWN_POOL}"),
        format!("{RW_MUTEX} AUDIT/socket.(*Backend).Salt"),
    ] {
        assert_eq!(reason_of(&format!("{calls} {broker}")), None, "{calls}");
        let known = stack(&format!("{calls} {broker}"));
        let known: Vec<_> = known.iter().map(Option::as_ref).collect();
        assert_eq!(in_broker(&known), Some(Phase::Request), "{calls}");
    }
}

#[test]
fn waits_elsewhere_are_no_devices() {
    for outside in [
        "github.com/hashicorp/vault/vault.(*Core).handleRequest",
        "example.com/elsewhere.(*FileSink).Process",
        "github.com/hashicorp/eventlogger.(*Broker).Send",
        "",
    ] {
        assert_eq!(reason_of(&format!("{SELECT} {POOL} {outside}")), None);
    }
}

#[test]
fn the_frames_of_a_device_are_its_innermost_and_the_one_called_from_outside() {
    let sink = wait(&format!("{SELECT} {POOL} {} {OUTSIDE}", DEVICES[2])).expect("a device");
    assert_eq!((sink.frames, sink.phase), ((3, 5), None));
    let backend = wait(&format!("{SELECT} {}", DEVICES[6])).expect("a device");
    assert_eq!(
        (backend.frames, backend.phase),
        ((2, 3), Some(Phase::Response))
    );
}

const CODE: DeviceCode = DeviceCode {
    kind: DeviceKind::Socket,
    style: DeviceStyle::Backend,
};
const REQUEST: Option<FunctionRole> = Some(FunctionRole::Device(CODE, Some(EntryPoint::Request)));
const INNER: Option<FunctionRole> = Some(FunctionRole::Device(CODE, None));
const LOCK: Option<FunctionRole> = Some(FunctionRole::Lock);
const WRITE: Option<FunctionRole> = Some(FunctionRole::Write);
const CONNECT: Option<FunctionRole> = Some(FunctionRole::Connect);
const SYSLOG: Option<FunctionRole> = Some(FunctionRole::Syslog);

fn known(roles: &[Option<FunctionRole>]) -> Vec<Option<KnownFunction>> {
    let known = |(i, role): (usize, &Option<FunctionRole>)| {
        let name = i.to_string().into();
        role.map(|role| KnownFunction {
            role: Some(role),
            name,
        })
    };
    roles.iter().enumerate().map(known).collect()
}

fn at(roles: &[Option<FunctionRole>]) -> Option<WaitReason> {
    let known = known(roles);
    let functions: Vec<_> = known.iter().map(Option::as_ref).collect();
    find(&functions).map(|found| found.reason)
}

#[test]
fn syslogs_lock_is_taken_by_what_writes_to_it() {
    assert_eq!(at(&[LOCK, SYSLOG, SYSLOG, REQUEST]), Some(WaitReason::Lock));
    let writes = [LOCK, WRITE, None, SYSLOG, SYSLOG, REQUEST];
    assert_eq!(at(&writes), Some(WaitReason::Write));
}

#[test]
fn the_outermost_call_decides() {
    let under = |calls: &[FunctionRole]| {
        let calls = calls.iter().copied().map(Some).chain([INNER, REQUEST]);
        at(&calls.collect::<Vec<_>>())
    };
    assert_eq!(under(&[FunctionRole::Write]), Some(WaitReason::Write));
    assert_eq!(under(&[FunctionRole::Connect]), Some(WaitReason::Connect));
    assert_eq!(under(&[FunctionRole::Resolve]), Some(WaitReason::Resolve));
    assert_eq!(under(&[FunctionRole::Open]), Some(WaitReason::Open));
    assert_eq!(under(&[FunctionRole::Answer]), Some(WaitReason::Answer));
    assert_eq!(under(&[]), Some(WaitReason::Other));
    // Asking a name server.
    let asking = [
        FunctionRole::Write,
        FunctionRole::Connect,
        FunctionRole::Resolve,
    ];
    assert_eq!(under(&asking), Some(WaitReason::Resolve));
    // Reading what has been interrupted, inside the dial.
    let inside = [FunctionRole::Lock, FunctionRole::Connect];
    assert_eq!(under(&inside), Some(WaitReason::Connect));
}

#[test]
fn a_stack_without_a_device_is_no_wait() {
    assert_eq!(at(&[None, LOCK, None]), None);
    assert_eq!(at(&[]), None);
    // Cut off before the function that was called from outside: what it is called for is unknown.
    assert_eq!(at(&[WRITE, INNER]), None);
}

#[test]
fn names_the_innermost_of_a_library_and_all_of_a_device() {
    let named = |roles: &[Option<FunctionRole>]| {
        let known = known(roles);
        names(&known.iter().map(Option::as_ref).collect::<Vec<_>>()).join(" ")
    };
    let stack = [None, CONNECT, None, CONNECT, INNER, INNER, REQUEST];
    assert_eq!(named(&stack), "1 4 5 6");
    assert_eq!(named(&[LOCK, WRITE, LOCK, REQUEST]), "0 1 2 3");
    assert_eq!(named(&[INNER; 20]).split(' ').count(), NAMES);
}
