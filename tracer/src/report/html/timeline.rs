//! The timeline: a lane a device, drawn as SVG whose text keeps its size, whatever the width of the screen.

use std::collections::BTreeSet;

use jiff::Timestamp;
use maud::{Markup, html};
use tracer_format::{
    Name,
    describe::{operation_and_path, wait},
    text::{clean, count, duration, moment},
};
use tracer_model::{Cause, Nanos};

use super::{NO_CAUSE, chip, class, hangs::op_class};
use crate::report::{
    summary::{DeviceSummary, Report},
    timeline::{Bin, nanos},
};

/// Above the hangs of a lane: marks, the incident, refusals. Pixels, as all here.
const STRIP: usize = 26;
/// One row of hangs.
const ROW: usize = 14;
const BAR: usize = 11;
/// The hangs of a lane that overlap are drawn below each other, in at most so many rows.
const ROWS: usize = 24;
/// Height of the number of requests that were blocked at a time, where there are too many hangs to draw.
const CURVE: usize = 60;
const S: i64 = 1_000_000_000;

/// Steps of the axis, ns.
const STEPS: [i64; 26] = [
    S / 100,
    S / 50,
    S / 20,
    S / 10,
    S / 5,
    S / 2,
    S,
    2 * S,
    5 * S,
    10 * S,
    15 * S,
    30 * S,
    60 * S,
    120 * S,
    300 * S,
    600 * S,
    900 * S,
    1800 * S,
    3600 * S,
    2 * 3600 * S,
    6 * 3600 * S,
    12 * 3600 * S,
    86_400 * S,
    7 * 86_400 * S,
    30 * 86_400 * S,
    365 * 86_400 * S,
];

/// The time that is drawn, ns since the epoch.
struct Axis {
    start: i64,
    end: i64,
}

impl Axis {
    fn of(report: &Report) -> Option<Self> {
        let (start, end) = report.timeline.span()?;
        // A moment alone is drawn within a second.
        let missing = (S - (end - start)).max(0);
        let margin = missing / 2 + (end - start) / 50;
        Some(Self {
            start: start.saturating_sub(margin),
            end: end.saturating_add(margin),
        })
    }

    fn percent(&self, at: i64) -> f64 {
        (at - self.start) as f64 / (self.end - self.start) as f64 * 100.0
    }

    fn x(&self, at: i64) -> String {
        format!("{:.3}%", self.percent(at))
    }

    fn width(&self, start: i64, end: i64) -> String {
        format!("{:.3}%", self.percent(end) - self.percent(start))
    }

    /// As many ticks as have labels that stand side by side on a phone, and the step between them.
    fn ticks(&self) -> (Vec<i64>, i64) {
        let span = self.end - self.start;
        let is_short = |step| step >= S && span < 86_400 * S;
        let fits = |step: &i64| span / step <= if is_short(*step) { 4 } else { 3 };
        let step = STEPS.into_iter().find(fits);
        let step = step.unwrap_or(span / 3);
        let first = self.start.div_euclid(step) + 1;
        let last = self.end.div_euclid(step);
        let ticks = (first..=last).map(|tick| tick.saturating_mul(step));
        (ticks.collect(), step)
    }

    fn label(&self, tick: i64, step: i64) -> String {
        let at = Timestamp::from_nanosecond(tick.into()).unwrap_or_default();
        let format = match step {
            step if step < S => "%H:%M:%S%.2f",
            step if step < 60 * S => "%H:%M:%S",
            _ if self.end - self.start < 86_400 * S => "%H:%M",
            step if step < 86_400 * S => "%m-%d %H:%M",
            _ => "%Y-%m-%d",
        };
        at.strftime(format).to_string()
    }
}

pub(super) fn section(report: &Report) -> Markup {
    let Some(axis) = Axis::of(report) else {
        return html! {};
    };
    let is_dense = report.hangs_left_out > 0;
    html! {
        section.timeline {
            h2 { "Timeline" }
            (legend(report, is_dense))
            @for device in &report.devices {
                h3 { (clean(&device.device.to_string())) }
                (lane(report, device, &axis, is_dense))
            }
            (scale(&axis))
        }
    }
}

fn legend(report: &Report, is_dense: bool) -> Markup {
    let drawn = report.worst_hangs.len() as u64;
    html! {
        p.legend {
            @for cause in &report.causes { (chip(cause)) " " }
            @if !report.incidents.is_empty() { span.key { span.swatch.incident {} "incident" } " " }
            @if report.refusals > 0 { span.key { span.swatch.refusal {} "refusals" } " " }
            @if !report.lost.is_empty() { span.key { span.lost { "\u{25bc}" } "entries not acknowledged" } " " }
            @if !report.fillings.is_empty() { span.key { span.filling { "\u{25b2}" } "buffer filling" } " " }
            @if !report.under_way.is_empty() { span.key { span.swatch.open {} "not over when the trace was cut" } }
        }
        p.hint {
            @if is_dense {
                "Above: how many requests were blocked at a time, in bins of " (duration(report.timeline.width().unsigned_abs()))
                ". Below: the " (drawn) " longest of " (count(report.total.hangs, "hang")) ". "
            }
            @if drawn > 0 { "A bar is a request that was blocked, pale while it queued behind another one: select it to see why." }
        }
    }
}

fn lane(report: &Report, device: &DeviceSummary, axis: &Axis, is_dense: bool) -> Markup {
    let (places, rows) = pack(report, device);
    let curve = if is_dense { CURVE } else { 0 };
    let height = STRIP + curve + rows * ROW + 4;
    let top = STRIP + curve;
    html! {
        svg.lane width="100%" height=(height) role="group" aria-label=(format!("timeline of {}", clean(&device.device.to_string()))) {
            (grid(axis))
            (strip(report, device, axis))
            @if is_dense { (curve_of(report, device, axis)) }
            @for (rank, row) in places {
                (bar(report, rank, axis, top + row * ROW))
            }
            @for open in &report.under_way {
                @if open.record.device == device.device {
                    rect.open x=(axis.x(nanos(open.record.start))) y=(STRIP - 4) height="3"
                        width=(axis.width(nanos(open.record.start), nanos(open.record.at))) {
                        title { "not over when the trace was cut: " (operation_and_path(&open.record.request)) }
                    }
                }
            }
        }
    }
}

fn grid(axis: &Axis) -> Markup {
    html! {
        @for tick in axis.ticks().0 {
            line.grid x1=(axis.x(tick)) x2=(axis.x(tick)) y1="0" y2="100%" {}
        }
    }
}

fn scale(axis: &Axis) -> Markup {
    let (ticks, step) = axis.ticks();
    let anchor = |tick| match axis.percent(tick) {
        ..8.0 => "start",
        92.0.. => "end",
        _ => "middle",
    };
    html! {
        svg.scale width="100%" height="18" aria-hidden="true" {
            @for tick in ticks {
                text x=(axis.x(tick)) y="12" text-anchor=(anchor(tick)) { (axis.label(tick, step)) }
            }
        }
    }
}

/// In which row each hang of the device is drawn, by its rank among the worst; and how many rows that makes.
fn pack(report: &Report, device: &DeviceSummary) -> (Vec<(usize, usize)>, usize) {
    let ranks = report.worst_hangs.iter().enumerate();
    let mut own: Vec<_> = ranks
        .filter(|(_, hang)| hang.record.device == device.device)
        .map(|(rank, hang)| (nanos(hang.record.start), rank))
        .collect();
    own.sort_unstable();
    let mut ends: Vec<i64> = Vec::new();
    let mut places = Vec::new();
    for (start, rank) in own {
        let free = ends.iter().position(|end| *end <= start);
        let row = free.unwrap_or(ends.len()).min(ROWS - 1);
        if row == ends.len() {
            ends.push(start);
        }
        ends[row] = ends[row].max(nanos(report.worst_hangs[rank].record.end));
        places.push((rank, row));
    }
    (places, ends.len())
}

fn bar(report: &Report, rank: usize, axis: &Axis, y: usize) -> Markup {
    let hang = &report.worst_hangs[rank].record;
    let (start, end) = (nanos(hang.start), nanos(hang.end));
    let (time, asked) = (
        duration(hang.duration_ns),
        operation_and_path(&hang.request),
    );
    let name = format!("{time} {}: {asked}", clean(&hang.cause));
    html! {
        a href=(format!("#h{rank}")) aria-label=(name) {
            rect class=(format!("bar {}", class(&hang.cause))) x=(axis.x(start)) y=(y) rx="2"
                width=(axis.width(start, end)) height=(BAR) {
                title { (name) }
            }
            @for stall in &hang.stalls {
                @let from = nanos(stall.start);
                @let to = from.saturating_add_unsigned(stall.duration_ns).min(end.max(from));
                rect class=(format!("part {} {}", op_class(stall), class(&stall.cause))) x=(axis.x(from)) y=(y)
                    width=(axis.width(from, to)) height=(BAR) {
                    title { (wait(&stall.op)) " " (duration(stall.duration_ns)) " of " (name) }
                }
            }
        }
    }
}

fn strip(report: &Report, device: &DeviceSummary, axis: &Axis) -> Markup {
    let bins = || report.timeline.bins(device.lane);
    let width = report.timeline.width();
    html! {
        @for incident in &report.incidents {
            @if incident.record.device == device.device {
                @let start = nanos(incident.record.start);
                @let over = incident.record.end.or(report.files[incident.file].end);
                @let end = over.map_or(axis.end, nanos);
                rect.incident x=(axis.x(start)) width=(axis.width(start, end)) y="13" height="4" {
                    title { "incident from " (moment(incident.record.start)) ": " (clean(&incident.record.cause)) }
                }
            }
        }
        @for (at, bin) in bins() {
            @if bin.refusals > 0 {
                rect.refusal x=(axis.x(at)) width=(axis.width(at, at + width)) y="18" height="4" {
                    title { (count(bin.refusals, "refusal")) }
                }
            }
        }
        @for lost in &report.lost {
            @if lost.record.device == device.device {
                (mark(axis, nanos(lost.record.at), "lost", "M-5 1H5L0 10Z", &lost.record.explanation))
            }
        }
        @for filling in &report.fillings {
            @if filling.record.device == device.device {
                (mark(axis, nanos(filling.record.at), "filling", "M-5 10H5L0 1Z", &filling.record.explanation))
            }
        }
    }
}

fn mark(axis: &Axis, at: i64, class: &str, path: &str, words: &str) -> Markup {
    html! {
        svg.mark x=(axis.x(at)) y="0" overflow="visible" {
            path class=(class) d=(path) { title { (clean(words)) } }
        }
    }
}

/// The number of requests that were blocked at a time: a column a bin.
fn curve_of(report: &Report, device: &DeviceSummary, axis: &Axis) -> Markup {
    let width = report.timeline.width();
    let at_a_time = |bin: &Bin| bin.blocked.iter().sum::<Nanos>() as f64 / width as f64;
    let bins = || report.timeline.bins(device.lane);
    let most = bins().map(|(_, bin)| at_a_time(bin)).fold(0.0, f64::max);
    let height = |bin: &Bin| at_a_time(bin) / most.max(f64::MIN_POSITIVE) * (CURVE - 14) as f64;
    let bottom = (STRIP + CURVE - 4) as f64;
    html! {
        @for (at, bin) in bins() {
            @if at_a_time(bin) > 0.0 {
                rect class=(format!("column {}", main_cause(report, bin).map_or(NO_CAUSE.to_owned(), class))) x=(axis.x(at))
                    width=(axis.width(at, at + width)) y=(format!("{:.1}", bottom - height(bin))) height=(format!("{:.1}", height(bin))) {
                    title { (format!("{:.1}", at_a_time(bin))) " at a time: " (causes(report, bin)) }
                }
            }
        }
        text.most x="4" y=(STRIP + 8) { "up to " (format!("{most:.1}")) " at a time" }
    }
}

fn main_cause<'a>(report: &'a Report, bin: &Bin) -> Option<&'a Name<Cause>> {
    let most = (0..bin.blocked.len()).max_by_key(|cause| bin.blocked[*cause]);
    most.and_then(|cause| report.causes.get(cause))
}

fn causes(report: &Report, bin: &Bin) -> String {
    let all = report.causes.iter().zip(bin.blocked);
    let there = all.filter(|(_, time)| *time > 0);
    let names: BTreeSet<_> = there.map(|(name, _)| clean(name)).collect();
    names.into_iter().collect::<Vec<_>>().join(", ")
}
