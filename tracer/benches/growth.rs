//! How the time that the core takes for one event grows with the length of a trace, with sockets and
//! with requests under way: `cargo bench -p vault-tracer --bench growth`. Prints it, and draws it in
//! `target/growth.svg`. Level lines are what is wanted; what little they rise is memory that no longer
//! fits into a cache.

use std::{
    error::Error,
    path::Path,
    time::{Duration, Instant},
};

use plotters::prelude::*;
use test_support::streams::{BusyServer, Shape, feed};
use tracer_core::Core;

/// Events that are made at once, so that a long stream needs no memory.
const CHUNK: usize = 10_000;

/// Each is measured so often, and the shortest counts: what else the machine does only adds to it.
const TIMES: usize = 3;

/// The time for some events, and how many those were.
type Measured = (Duration, u64);

/// One line of the plot.
struct Growth {
    name: &'static str,
    sizes: &'static [u64],
    run: fn(u64) -> Measured,
}

const ALL: [Growth; 7] = [
    Growth {
        name: "events",
        sizes: &[10_000, 100_000, 1_000_000],
        run: events,
    },
    Growth {
        name: "connections of HTTP/1.1",
        sizes: &[10, 100, 1000, 10_000],
        run: |clients| connections(clients, 0),
    },
    Growth {
        name: "streams of one HTTP/2 connection",
        sizes: &[10, 100, 1000, 10_000],
        run: |clients| connections(clients, clients),
    },
    Growth {
        name: "devices, each written to by each request",
        sizes: &[1, 10, 100],
        run: devices,
    },
    Growth {
        name: "silent requests beside 64 that are served",
        sizes: &[1, 10, 100, 1000, 10_000],
        run: silent,
    },
    Growth {
        name: "requests queued behind one stall, per event and goroutine found",
        sizes: &[1, 10, 100, 1000, 10_000],
        run: |queued| hang(queued, 1),
    },
    Growth {
        name: "the same behind stalls of 100 devices",
        sizes: &[200, 1000, 10_000],
        run: |queued| hang(queued, 100),
    },
];

fn main() -> Result<(), Box<dyn Error>> {
    if !std::env::args().any(|word| word == "--bench") {
        // `cargo test --benches`: that it compiles is enough.
        return Ok(());
    }
    let lines: Vec<_> = ALL.iter().map(measure).collect();
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent();
    let plot = target.ok_or("no target directory")?.join("growth.svg");
    draw(&plot, &lines)?;
    println!("drawn in {}", plot.display());
    Ok(())
}

/// Nanoseconds for one event, by size.
fn measure(growth: &Growth) -> Vec<(f64, f64)> {
    println!("{}", growth.name);
    let per_event = |size: u64| {
        let times = (0..TIMES).map(|_| {
            let (spent, events) = (growth.run)(size);
            spent.as_nanos() as f64 / events as f64
        });
        let shortest = times.fold(f64::INFINITY, f64::min);
        println!("{size:>10} {shortest:>8.0} ns");
        (size as f64, shortest)
    };
    growth.sizes.iter().copied().map(per_event).collect()
}

fn draw(path: &Path, lines: &[Vec<(f64, f64)>]) -> Result<(), Box<dyn Error>> {
    let root = SVGBackend::new(path, (960, 540)).into_drawing_area();
    root.fill(&WHITE)?;
    let slowest = lines.iter().flatten().map(|(_, time)| *time);
    let top = slowest.fold(0.0, f64::max) * 1.6;
    let mut chart = ChartBuilder::on(&root)
        .margin(16)
        .x_label_area_size(40)
        .y_label_area_size(64)
        .build_cartesian_2d((1.0..1e6).log_scale(), 0.0..top)?;
    let mut mesh = chart.configure_mesh();
    mesh.x_desc("how many")
        .y_desc("ns for one event")
        .x_label_formatter(&|size| format!("{size:.0}"))
        .draw()?;
    for (index, (growth, line)) in ALL.iter().zip(lines).enumerate() {
        let color = Palette99::pick(index).stroke_width(2);
        let series = LineSeries::new(line.iter().copied(), color).point_size(3);
        chart
            .draw_series(series)?
            .label(growth.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .border_style(BLACK)
        .background_style(WHITE)
        .draw()?;
    root.present()?;
    Ok(())
}

fn begun(shape: Shape) -> (Core, BusyServer) {
    let (mut core, mut server) = (Core::new(), BusyServer::new(shape));
    feed(&mut core, &server.begin());
    (core, server)
}

/// So many events of that server.
fn stream(mut core: Core, mut server: BusyServer, events: u64) -> Measured {
    let (mut taken, mut spent) = (0, Duration::ZERO);
    while taken < events {
        let chunk = server.events(CHUNK.min((events - taken) as usize));
        taken += chunk.len() as u64;
        let began = Instant::now();
        feed(&mut core, &chunk);
        spent += began.elapsed();
    }
    (spent, taken)
}

fn events(events: u64) -> Measured {
    let (core, server) = begun(Shape::HTTP1);
    stream(core, server, events)
}

/// Each client has a request under way.
fn connections(clients: u64, streams: u64) -> Measured {
    let (core, server) = begun(Shape {
        clients,
        streams,
        ..Shape::HTTP1
    });
    stream(core, server, 20_000.max(12 * clients))
}

fn devices(devices: u64) -> Measured {
    let (core, server) = begun(Shape {
        devices,
        ..Shape::HTTP1
    });
    stream(core, server, 30_000)
}

fn silent(silent: u64) -> Measured {
    let (mut core, mut server) = begun(Shape::HTTP1);
    feed(&mut core, &server.arrive(64, silent));
    stream(core, server, 20_000)
}

fn hang(queued: u64, devices: u64) -> Measured {
    let (mut core, mut server) = begun(Shape {
        clients: queued,
        devices,
        ..Shape::HTTP1
    });
    let (events, elements) = server.hang(queued / devices);
    let began = Instant::now();
    feed(&mut core, &events);
    (began.elapsed(), elements)
}
