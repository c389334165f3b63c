//! How the time for one event grows: `cargo bench -p vault-tracer --bench growth`. Where it does not, the
//! lines in `target/criterion/*/report/lines.svg` are level.

#[allow(dead_code, reason = "the other benchmark uses the rest")]
mod streams;

use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use streams::{Server, Shape, feed};
use tracer::core::Core;

/// Events that are made at once, so that a long stream needs no memory.
const CHUNK: usize = 10_000;

/// The time it takes the core to take so many events of that server, in chunks.
fn stream(core: &mut Core, server: &mut Server, events: usize) -> (Duration, usize) {
    let (mut taken, mut spent) = (0, Duration::ZERO);
    while taken < events {
        let chunk = server.events(CHUNK.min(events - taken));
        taken += chunk.len();
        let began = Instant::now();
        feed(core, &chunk);
        spent += began.elapsed();
    }
    (spent, taken)
}

fn begun(shape: Shape) -> (Core, Server) {
    let (mut core, mut server) = (Core::new(), Server::new(shape));
    feed(&mut core, &server.begin());
    (core, server)
}

/// Time for one event, as an iteration: on a level line it does not depend on the parameter.
fn per_event(
    criterion: &mut Criterion,
    name: &str,
    sizes: &[u64],
    mut run: impl FnMut(u64) -> (Duration, u64),
) {
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(1));
    for size in sizes {
        group.bench_with_input(BenchmarkId::from_parameter(size), size, |bencher, size| {
            bencher.iter_custom(|iterations| {
                let (mut spent, mut elements) = (Duration::ZERO, 0);
                while elements < iterations {
                    let (more, of) = run(*size);
                    spent += more;
                    elements += of;
                }
                spent.mul_f64(iterations as f64 / elements as f64)
            });
        });
    }
    group.finish();
}

fn events(criterion: &mut Criterion) {
    per_event(
        criterion,
        "growth, events",
        &[10_000, 100_000, 1_000_000],
        |size| {
            let (mut core, mut server) = begun(Shape::HTTP1);
            let (spent, taken) = stream(&mut core, &mut server, size as usize);
            (spent, taken as u64)
        },
    );
}

/// Clients' connections, each with a request under way.
fn sockets(criterion: &mut Criterion) {
    let sizes = [10, 100, 1000, 10_000];
    for (name, streams) in [
        ("growth, connections HTTP 1.1", 0),
        ("growth, streams of one connection HTTP 2", u64::MAX),
    ] {
        per_event(criterion, name, &sizes, |clients| {
            let (mut core, mut server) = begun(Shape {
                clients,
                streams: streams.min(clients),
                ..Shape::HTTP1
            });
            let (spent, taken) = stream(&mut core, &mut server, 10_000.max(12 * clients as usize));
            (spent, taken as u64)
        });
    }
}

/// Audit devices, of which each request writes to all.
fn devices(criterion: &mut Criterion) {
    per_event(criterion, "growth, devices", &[1, 10, 100], |devices| {
        let (mut core, mut server) = begun(Shape {
            devices,
            ..Shape::HTTP1
        });
        let (spent, taken) = stream(&mut core, &mut server, 30_000);
        (spent, taken as u64)
    });
}

/// Requests that were read and make no sign, beside 64 clients that are served.
fn silent(criterion: &mut Criterion) {
    per_event(
        criterion,
        "growth, silent requests",
        &[1, 10, 100, 1000, 10_000],
        |silent| {
            let (mut core, mut server) = begun(Shape::HTTP1);
            feed(&mut core, &server.arrive(64, silent));
            let (spent, taken) = stream(&mut core, &mut server, 20_000);
            (spent, taken as u64)
        },
    );
}

/// Requests that queue behind one that is stalled, on one device and on a hundred. Elements are
/// events and goroutines in looks.
fn queued(criterion: &mut Criterion) {
    let run = |devices: u64, queued: u64| {
        let (mut core, mut server) = begun(Shape {
            clients: queued,
            devices,
            ..Shape::HTTP1
        });
        let (events, elements) = server.hang(queued / devices);
        let began = Instant::now();
        feed(&mut core, &events);
        (began.elapsed(), elements)
    };
    per_event(
        criterion,
        "growth, queued behind one stall",
        &[10, 100, 1000, 10_000],
        |queued| run(1, queued),
    );
    per_event(
        criterion,
        "growth, queued behind stalls of 100 devices",
        &[200, 1000, 10_000],
        |queued| run(100, queued),
    );
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(50))
        .measurement_time(Duration::from_millis(500));
    targets = events, sockets, devices, silent, queued
}
criterion_main!(benches);
