//! The tables of the live view: devices, open stalls, past hangs.

use std::cmp::Reverse;

use ratatui::{
    Frame,
    layout::{Constraint, Rect},
    style::{Modifier, Style},
    text::Span,
    widgets::{Cell, Row, Table, TableState},
};

use super::{
    model::{Level, Model, ViewData},
    style::{Palette, WIDE, dim},
    words::{condition_age, duration, request},
};
use tracer_format::{describe::wait_of, text::clean};
use tracer_model::{Condition, Device, DeviceSnapshot, Nanos, SendBuffer, Snapshot};

/// The fill level of a working device's send buffer is outdated after this time, ns.
const BUFFER_MAX_AGE: Nanos = 3_000_000_000;

/// Marks the chosen row on terminals without colours.
const CHOSEN: &str = ">";

/// Heading, width, and whether narrow screens have it.
struct Column(&'static str, Constraint, Shown);

#[derive(PartialEq)]
enum Shown {
    Always,
    IfWide,
}

const DEVICES: [Column; 6] = [
    Column("DEVICE", Constraint::Min(12), Shown::Always),
    Column("STATE", Constraint::Length(7), Shown::Always),
    Column("FOR", Constraint::Length(11), Shown::Always),
    Column("CAUSE", Constraint::Length(14), Shown::IfWide),
    Column("SEND BUFFER", Constraint::Length(12), Shown::IfWide),
    Column("TAKES", Constraint::Length(9), Shown::IfWide),
];

const STALLS: [Column; 5] = [
    Column("BLOCKED", Constraint::Length(11), Shown::Always),
    Column("IN", Constraint::Length(7), Shown::Always),
    Column("REQUEST", Constraint::Min(12), Shown::Always),
    Column("CLIENT", Constraint::Length(21), Shown::IfWide),
    Column("BY", Constraint::Length(20), Shown::IfWide),
];

const HANGS: [Column; 5] = [
    Column("LAST HANGS", Constraint::Length(10), Shown::Always),
    Column("TOOK", Constraint::Length(11), Shown::Always),
    Column("REQUEST", Constraint::Min(12), Shown::Always),
    Column("CAUSE", Constraint::Length(14), Shown::IfWide),
    Column("BY", Constraint::Length(20), Shown::IfWide),
];

/// `hidden`: the number of rows for which there is no room.
fn table<const N: usize>(
    columns: &[Column; N],
    rows: impl Iterator<Item = [Cell<'static>; N]>,
    hidden: usize,
    width: u16,
    palette: Palette,
) -> Table<'static> {
    let is_shown = |column: &&Column| width >= WIDE || column.2 == Shown::Always;
    let columns = || {
        columns
            .iter()
            .enumerate()
            .filter(|(_, column)| is_shown(column))
    };
    let rows = rows.map(|mut cells| {
        Row::new(columns().map(move |(index, _)| std::mem::take(&mut cells[index])))
    });
    let heading = columns().map(|(index, Column(heading, ..))| match index {
        0 if hidden > 0 => format!("{heading} (+{hidden})"),
        _ => (*heading).to_owned(),
    });
    let heading = Row::new(heading).style(palette.heading());
    Table::new(rows, columns().map(|(_, column)| column.1))
        .header(heading)
        .column_spacing(1)
}

/// The devices in the worst condition, if there is no room for all.
pub(super) fn device_table(
    data: &ViewData,
    snapshot: &Snapshot,
    rows: usize,
    area: Rect,
    palette: Palette,
) -> Table<'static> {
    let mut devices: Vec<_> = snapshot.devices.iter().collect();
    devices.sort_by_key(|device| Reverse(Level::of(device.condition)));
    let shown = devices.into_iter().take(rows).map(|device| {
        let condition = device.condition.map_or("-", Condition::name);
        let style = palette.level(Level::of(device.condition));
        [
            device_name(&device.device),
            Span::styled(condition, style).into(),
            condition_age(snapshot, device)
                .map_or(String::new(), duration)
                .into(),
            device.cause.map_or("", |cause| cause.name()).into(),
            buffer_level(snapshot.at, device).into(),
            bytes_rate(data, &device.device).into(),
        ]
    });
    let hidden = snapshot.devices.len().saturating_sub(rows);
    table(&DEVICES, shown, hidden, area.width, palette)
}

/// There is little room: what the operator called it, where that is known.
fn device_name(device: &Device) -> Cell<'static> {
    let name = device.path.clone();
    let name = name.unwrap_or_else(|| device.to_string());
    clean(&name).into_owned().into()
}

/// `####-- 67%`; empty if unknown or outdated.
fn buffer_level(at: Nanos, device: &DeviceSnapshot) -> String {
    const CELLS: u64 = 6;
    let is_current = |buffer: &SendBuffer| {
        let works = device.condition == Some(Condition::Works);
        !works || at.saturating_sub(buffer.at) < BUFFER_MAX_AGE
    };
    let buffer = device.buffer.filter(is_current);
    let percent = buffer.and_then(|buffer| (buffer.queued * 100).checked_div(buffer.limit));
    percent.map_or(String::new(), |percent| {
        let full = (percent * CELLS).div_ceil(100).min(CELLS) as usize;
        let free = CELLS as usize - full;
        format!("{}{} {percent}%", "#".repeat(full), "-".repeat(free))
    })
}

fn bytes_rate(data: &ViewData, device: &Device) -> String {
    match data.bytes_rate(device) {
        None => String::new(),
        Some(rate) if rate < 1_000.0 => format!("{rate:.0} B/s"),
        Some(rate) if rate < 1_000_000.0 => format!("{:.0} kB/s", rate / 1e3),
        Some(rate) => format!("{:.1} MB/s", rate / 1e6),
    }
}

pub(super) fn stall_table(
    snapshot: &Snapshot,
    rows: usize,
    area: Rect,
    palette: Palette,
) -> Table<'static> {
    let shown = snapshot.stalls.iter().take(rows).map(|stall| {
        let client = stall.request.client;
        [
            duration(stall.blocked).into(),
            wait_of(stall.op).into(),
            request(&stall.request).into(),
            client
                .map_or(String::new(), |client| client.to_string())
                .into(),
            device_name(&stall.device),
        ]
    });
    let hidden = snapshot.stalls.len().saturating_sub(rows);
    table(&STALLS, shown, hidden, area.width, palette)
}

pub(super) fn draw_hangs(frame: &mut Frame<'_>, area: Rect, model: &Model, palette: Palette) {
    let data = model.data();
    if data.hang_count == 0 {
        frame.render_widget(Span::styled("No hang so far.", dim()), area);
        return;
    }
    let hangs = model.hangs();
    let rows = hangs.iter().map(|past| {
        let hang = &past.hang;
        let start = data.clock.time(hang.start);
        [
            start.strftime("%H:%M:%SZ").to_string().into(),
            duration(hang.duration).into(),
            request(&hang.request).into(),
            hang.cause().name().into(),
            device_name(&hang.device),
        ]
    });
    let chosen = model.chosen_index();
    let table = table(&HANGS, rows, 0, area.width, palette)
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED))
        .highlight_symbol(chosen.map_or("", |_| CHOSEN));
    let mut selected = TableState::new().with_selected(chosen);
    frame.render_stateful_widget(table, area, &mut selected);
}
