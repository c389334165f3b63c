//! Events a second of each stage: `cargo bench -p vault-tracer --bench throughput`.

use std::{hint::black_box, time::Duration};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use test_events::S;
use test_support::{
    records,
    simulation::{self, Plan, State},
    streams::{BusyServer, Shape, feed},
};
use tracer::{
    audit::entry::parse_head,
    decode::{Kernel, decode},
    sink::{
        Sink, jsonl::Jsonl, line_file::LineFile, metrics::Metrics, otlp::Otlp, perfetto::Perfetto,
        recording::Recording, terminal::Terminal,
    },
};
use tracer_core::Core;
use tracer_model::{Event, EventKind, Finding};

const EVENTS: usize = 20_000;

fn decoding(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Elements(1));
    let kernel = Kernel::default();
    for (name, bytes) in records::all() {
        decode(&bytes, &kernel).expect("a record as the kernel side makes it");
        group.bench_function(name, |bencher| {
            bencher.iter(|| decode(black_box(&bytes), &kernel));
        });
    }
    group.finish();
}

fn parsing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parse_head");
    for (name, entry) in records::entries() {
        parse_head(&entry).expect("an entry");
        group.throughput(Throughput::Elements(1));
        group.bench_function(name, |bencher| {
            bencher.iter(|| parse_head(black_box(&entry)));
        });
    }
    group.finish();
}

fn core(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("core");
    let healthy = [
        ("healthy HTTP/1.1", Shape::HTTP1),
        ("healthy HTTP/2", Shape::HTTP2),
    ];
    for (name, shape) in healthy {
        let mut server = BusyServer::new(shape);
        let mut events = server.begin();
        events.extend(server.events(EVENTS));
        group.throughput(Throughput::Elements(events.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| feed(&mut Core::new(), black_box(&events)));
        });
    }
    for (name, http2) in [("hangs HTTP/1.1", false), ("hangs HTTP/2", true)] {
        let events = simulation::run(&hanging(http2)).events;
        // What a sample has of each goroutine is as much as an event.
        group.throughput(Throughput::Elements(events.iter().map(elements).sum()));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut core = Core::new();
                let steps = events.iter().map(|event| core.on(black_box(event)));
                steps.map(|step| step.findings.len()).sum::<usize>()
            });
        });
    }
    group.finish();
}

fn elements(event: &Event) -> u64 {
    match &event.what {
        EventKind::GoroutinesSampled {
            goroutines,
            handlers: None,
        } => 1 + goroutines.len() as u64,
        _ => 1,
    }
}

/// A server of which one device answers no dial, and another takes entries late.
fn hanging(http2: bool) -> Plan {
    Plan {
        seed: 7,
        devices: vec![State::Healthy, State::Slow, State::Dead],
        timeout: S / 2,
        clients: 40,
        each: 5,
        http2,
        stacks: true,
        dates: true,
        is_declared: true,
        lost: 0,
        swapped: 0,
    }
}

fn sinks(criterion: &mut Criterion) {
    let told = simulation::run(&hanging(false));
    let mut group = criterion.benchmark_group("sink");
    let file = || LineFile::create("/dev/null".as_ref()).expect("everybody may write there");
    group.throughput(Throughput::Elements(told.findings.len() as u64));
    group.bench_function("jsonl, findings", |bencher| {
        write(bencher, &told.findings, || Jsonl::new(file()));
    });
    group.bench_function("otlp, findings", |bencher| {
        write(bencher, &told.findings, || Otlp::new(file()));
    });
    group.bench_function("perfetto, findings", |bencher| {
        write(bencher, &told.findings, || Perfetto::new(file()));
    });
    group.bench_function("metrics, findings", |bencher| {
        write(bencher, &told.findings, Metrics::new);
    });
    group.bench_function("terminal, findings", |bencher| {
        write(bencher, &told.findings, || {
            Terminal::to(std::io::sink(), true)
        });
    });
    let mut server = BusyServer::new(Shape::HTTP1);
    let events = server.events(1000);
    group.throughput(Throughput::Elements(events.len() as u64));
    group.bench_function("recording, events", |bencher| {
        write(bencher, &events, || Recording::new(file()));
    });
    group.finish();
    assert!(told.findings.iter().any(|f| matches!(f, Finding::Hang(_))));
}

fn write<T, S: Sink<T>>(bencher: &mut criterion::Bencher<'_>, items: &[T], sink: impl Fn() -> S) {
    bencher.iter_batched(
        sink,
        |mut sink| {
            for item in items {
                sink.write(item).expect("there is room");
            }
        },
        BatchSize::LargeInput,
    );
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .nresamples(1000)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(700));
    targets = decoding, parsing, core, sinks
}
criterion_main!(benches);
