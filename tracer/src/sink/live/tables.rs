//! The tables of the live view: devices, stalls, hangs.

use std::cmp::Reverse;

use ratatui::{
    Frame,
    layout::{Constraint, Rect},
    style::{Modifier, Style},
    text::{Line, Span},
    widgets::{Cell, Row, Table, TableState},
};

use super::{
    answer::{lasts, time},
    draw::{Palette, WIDE, aside},
    model::{Level, Model, Past, Picture},
};
use crate::sink::clean::clean;
use tracer_model::{
    Condition, DeviceSnapshot, Nanos, OpenStall, RequestInfo, SendBuffer, Snapshot,
};

/// A working device's send buffer holds something else after so long, ns.
const FRESH: Nanos = 3_000_000_000;

/// What marks which row is chosen, where colours may not.
const CHOSEN: &str = ">";

pub(super) fn device_table(
    picture: &Picture,
    state: &Snapshot,
    rows: usize,
    area: Rect,
    palette: Palette,
) -> Table<'static> {
    let is_wide = area.width >= WIDE;
    // Where there is no room for all, for the worst.
    let mut devices: Vec<_> = state.devices.iter().collect();
    devices.sort_by_key(|device| Reverse(Level::of(device.condition)));
    let shown = devices.into_iter().take(rows).map(|device| {
        let condition = device.condition.map_or("-", |condition| condition.name());
        let mut cells = vec![
            Cell::new(clean(&device.device.to_string()).into_owned()),
            Cell::new(Span::styled(
                condition,
                palette.level(Level::of(device.condition)),
            )),
            Cell::new(lasts(state.at, device).map_or(String::new(), time)),
        ];
        if is_wide {
            cells.push(Cell::new(device.cause.map_or("", |cause| cause.name())));
            cells.push(Cell::new(filled(state.at, device)));
            cells.push(Cell::new(bytes_rate(picture, device)));
        }
        Row::new(cells)
    });
    let mut heading = vec!["DEVICE", "STATE", "FOR"];
    let mut widths = vec![
        Constraint::Min(12),
        Constraint::Length(7),
        Constraint::Length(11),
    ];
    if is_wide {
        heading.extend(["CAUSE", "SEND BUFFER", "TAKES"]);
        widths.extend([14, 12, 9].map(Constraint::Length));
    }
    let more = state.devices.len().saturating_sub(rows);
    table(shown.collect(), heading, widths, more, palette)
}

/// `####-- 67%`; nothing, where it works and that was seen too long ago to be so still.
fn filled(at: Nanos, device: &DeviceSnapshot) -> String {
    const CELLS: u64 = 6;
    let still = |buffer: &SendBuffer| {
        let works = device.condition == Some(Condition::Works);
        !works || at.saturating_sub(buffer.at) < FRESH
    };
    let percent = device.buffer.filter(still).and_then(|buffer| {
        let percent = buffer.queued * 100;
        percent.checked_div(buffer.limit)
    });
    percent.map_or(String::new(), |percent| {
        let full = (percent * CELLS).div_ceil(100).min(CELLS) as usize;
        let free = CELLS as usize - full;
        format!("{}{} {percent}%", "#".repeat(full), "-".repeat(free))
    })
}

fn bytes_rate(picture: &Picture, device: &DeviceSnapshot) -> String {
    match picture.bytes_rate(&device.device) {
        None => String::new(),
        Some(rate) if rate < 1_000.0 => format!("{rate:.0} B/s"),
        Some(rate) if rate < 1_000_000.0 => format!("{:.0} kB/s", rate / 1e3),
        Some(rate) => format!("{:.1} MB/s", rate / 1e6),
    }
}

pub(super) fn stall_table(
    state: &Snapshot,
    rows: usize,
    area: Rect,
    palette: Palette,
) -> Table<'static> {
    let is_wide = area.width >= WIDE;
    let shown = state.stalls.iter().take(rows).map(|stall: &OpenStall| {
        let mut cells = vec![
            Cell::new(time(stall.blocked)),
            Cell::new(stall.op.name()),
            Cell::new(request(&stall.request)),
        ];
        if is_wide {
            cells.push(Cell::new(client(&stall.request)));
            cells.push(Cell::new(clean(&stall.device.to_string()).into_owned()));
        }
        Row::new(cells)
    });
    let mut heading = vec!["HELD UP", "IN", "REQUEST"];
    let mut widths = vec![
        Constraint::Length(11),
        Constraint::Length(7),
        Constraint::Min(12),
    ];
    if is_wide {
        heading.extend(["CLIENT", "BY"]);
        widths.extend([21, 20].map(Constraint::Length));
    }
    let more = state.stalls.len().saturating_sub(rows);
    table(shown.collect(), heading, widths, more, palette)
}

/// `read sys/mounts`, as far as known.
pub(super) fn request(request: &RequestInfo) -> String {
    let words = [request.operation.as_deref(), request.path.as_deref()];
    let words: Vec<_> = words.into_iter().flatten().map(clean).collect();
    if words.is_empty() {
        "a request".to_owned()
    } else {
        words.join(" ")
    }
}

fn client(request: &RequestInfo) -> String {
    request
        .client
        .map_or(String::new(), |client| client.to_string())
}

pub(super) fn hang_table(frame: &mut Frame<'_>, area: Rect, model: &Model, palette: Palette) {
    let picture = model.picture();
    if picture.told == 0 {
        let text = Line::styled("No hang so far.", aside());
        frame.render_widget(text, area);
        return;
    }
    let is_wide = area.width >= WIDE;
    let hangs = model.hangs();
    let shown = hangs.iter().map(|past| hang_row(picture, past, is_wide));
    let mut heading = vec!["LAST HANGS", "TOOK", "REQUEST"];
    let mut widths = vec![
        Constraint::Length(10),
        Constraint::Length(11),
        Constraint::Min(12),
    ];
    if is_wide {
        heading.extend(["CAUSE", "BY"]);
        widths.extend([14, 20].map(Constraint::Length));
    }
    let table = table(shown.collect(), heading, widths, 0, palette)
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED))
        .highlight_symbol(if model.chosen_index().is_some() {
            CHOSEN
        } else {
            ""
        });
    let mut chosen = TableState::new().with_selected(model.chosen_index());
    frame.render_stateful_widget(table, area, &mut chosen);
}

fn hang_row(picture: &Picture, past: &Past, is_wide: bool) -> Row<'static> {
    let hang = &past.hang;
    let mut cells = vec![
        Cell::new(
            picture
                .clock
                .time(hang.start)
                .strftime("%H:%M:%SZ")
                .to_string(),
        ),
        Cell::new(time(hang.duration)),
        Cell::new(request(&hang.request)),
    ];
    if is_wide {
        cells.push(Cell::new(hang.cause().name()));
        cells.push(Cell::new(clean(&hang.device.to_string()).into_owned()));
    }
    Row::new(cells)
}

/// `more`: rows for which there is no room; its heading says so.
fn table(
    rows: Vec<Row<'static>>,
    heading: Vec<&'static str>,
    widths: Vec<Constraint>,
    more: usize,
    palette: Palette,
) -> Table<'static> {
    let mut heading: Vec<_> = heading.into_iter().map(str::to_owned).collect();
    if more > 0
        && let Some(first) = heading.first_mut()
    {
        *first = format!("{first} (+{more})");
    }
    let heading = Row::new(heading).style(palette.heading());
    Table::new(rows, widths).header(heading).column_spacing(1)
}
