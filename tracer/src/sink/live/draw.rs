//! The model on a screen.

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Cell, Paragraph, Row, Table, TableState, Wrap},
};

use super::{
    answer::{Answer, answer, lasts, time},
    detail,
    model::{Level, Model, Page, Past, Picture},
};
use crate::{
    core::{
        finding::RequestInfo,
        state::{Condition, DeviceState, OpenStall, SendBuffer, State},
    },
    event::Nanos,
    sink::clean::clean,
};

/// From so many columns on, all of a table's are shown.
const WIDE: u16 = 72;

/// A working device's send buffer holds something else after so long, ns.
const FRESH: Nanos = 3_000_000_000;

/// What marks which row is chosen, where colours may not.
const CHOSEN: &str = ">";

/// Looks, with colours or without.
#[derive(Clone, Copy, Debug)]
pub struct Palette {
    /// Whether there are colours.
    pub coloured: bool,
}

impl Palette {
    fn level(self, level: Level) -> Style {
        let style = match level {
            Level::Bad => Style::new().add_modifier(Modifier::BOLD),
            _ => Style::new(),
        };
        if !self.coloured {
            return style;
        }
        match level {
            Level::Good => style.fg(Color::Green),
            Level::Unknown => style,
            Level::Warning => style.fg(Color::Yellow),
            Level::Bad => style.fg(Color::Red),
        }
    }

    pub(super) fn heading(self) -> Style {
        let style = Style::new().add_modifier(Modifier::BOLD);
        if self.coloured {
            style.fg(Color::Cyan)
        } else {
            style
        }
    }
}

/// Of what is not read first.
pub(super) fn aside() -> Style {
    Style::new().add_modifier(Modifier::DIM)
}

/// Draws the page that is to be seen.
pub fn draw(frame: &mut Frame<'_>, model: &Model, palette: Palette) {
    let [title, body, keys] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Min(0),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(title_line(model, title.width), title);
    match model.page {
        Page::Overview => overview(frame, body, model, palette),
        Page::Hang => detail::hang(frame, body, model, palette),
        Page::Help => detail::help(frame, body, model, palette),
    }
    frame.render_widget(keys_line(model, keys.width), keys);
}

fn title_line(model: &Model, width: u16) -> Line<'static> {
    let picture = model.picture();
    let server = picture.session.as_ref().map(|session| {
        let name = session.exe.rsplit('/').next().unwrap_or_default();
        format!("  {} (PID {})", clean(name), session.pid)
    });
    let mode = match (picture.has_ended, model.is_paused()) {
        (true, _) => "ENDED",
        (_, true) => "PAUSED",
        _ => "live",
    };
    let moment = picture.state.as_ref().map(|state| {
        let began = picture.session.as_ref().map_or(state.at, |s| s.began);
        let clock = picture
            .clock
            .time(state.at)
            .strftime("%H:%M:%SZ")
            .to_string();
        format!("{clock}  {}  ", time(state.at.saturating_sub(began)))
    });
    let left = format!("vault-tracer{}", server.unwrap_or_default());
    let right = format!("{}{mode}", moment.unwrap_or_default());
    let has_room = left.chars().count() + right.chars().count() < usize::from(width);
    // What matters less goes first.
    let right = if has_room { right } else { mode.to_owned() };
    let room = usize::from(width).saturating_sub(right.chars().count() + 1);
    let left: String = left.chars().take(room).collect();
    let used = left.chars().count() + right.chars().count();
    let gap = usize::from(width).saturating_sub(used).max(1);
    let line = format!("{left}{}{right}", " ".repeat(gap));
    Line::styled(line, Style::new().add_modifier(Modifier::REVERSED))
}

fn keys_line(model: &Model, width: u16) -> Line<'static> {
    let text = match model.page {
        Page::Overview if width < WIDE => format!("p s:{} Enter ? q", model.sort.name()),
        Page::Overview => {
            let pause = if model.is_paused() { "go on" } else { "pause" };
            format!(
                "p {pause}  s sort: {}  up/down Enter inspect  ? help  q quit",
                model.sort.name()
            )
        }
        Page::Hang => "up/down scroll  Esc back  q quit".to_owned(),
        Page::Help => "Esc back  q quit".to_owned(),
    };
    Line::styled(text, aside())
}

/// How many rows a text takes that is wrapped at words.
fn rows_of(text: &str, width: u16) -> u16 {
    let width = usize::from(width.max(1));
    let (mut rows, mut used) = (1, 0);
    for word in text.split(' ') {
        let length = word.chars().count();
        if used > 0 && used + 1 + length > width {
            rows += 1;
            used = 0;
        }
        used += length + usize::from(used > 0);
        rows += used.saturating_sub(1) / width;
        used = if used > width { used % width } else { used };
    }
    u16::try_from(rows).unwrap_or(u16::MAX)
}

/// How many rows each part gets; 0 is a part that is not there.
struct Rows {
    devices: usize,
    stalls: usize,
}

impl Rows {
    /// The answer comes first; then each part gets a share.
    fn of(height: u16, state: &State) -> Self {
        let height = usize::from(height);
        Self {
            devices: state.devices.len().min((height / 5).max(1)),
            stalls: state.stalls.len().min((height / 5).max(1)),
        }
    }
}

fn overview(frame: &mut Frame<'_>, area: Rect, model: &Model, palette: Palette) {
    let picture = model.picture();
    let answer = answer(picture);
    let nothing = State::default();
    let state = picture.state.as_ref().unwrap_or(&nothing);
    let rows = Rows::of(area.height, state);
    let part = |rows: usize| match rows {
        0 => Constraint::Length(0),
        // Its heading, and a blank line behind it.
        rows => Constraint::Length(rows as u16 + 2),
    };
    let note = picture
        .note
        .as_ref()
        .map(|note| format!("! {}", clean(note)));
    let note_rows = note
        .as_ref()
        .map_or(0, |note| rows_of(note, area.width).min(2));
    let lines = top_lines(&answer, picture, palette);
    let top_rows = lines
        .iter()
        .map(|line| rows_of(&line.to_string(), area.width));
    let [top, devices, stalls, hangs, last] = Layout::vertical([
        Constraint::Length(top_rows.sum::<u16>().min(area.height / 2)),
        part(rows.devices),
        part(rows.stalls),
        Constraint::Min(0),
        Constraint::Length(note_rows),
    ])
    .areas(area);
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }), top);
    if rows.devices > 0 {
        frame.render_widget(
            device_table(picture, state, rows.devices, devices, palette),
            devices,
        );
    }
    if rows.stalls > 0 {
        frame.render_widget(stall_table(state, rows.stalls, stalls, palette), stalls);
    }
    hang_table(frame, hangs, model, palette);
    if let Some(note) = note {
        let note = Line::styled(note, palette.level(Level::Warning));
        frame.render_widget(Paragraph::new(note).wrap(Wrap { trim: false }), last);
    }
}

fn top_lines(answer: &Answer, picture: &Picture, palette: Palette) -> Vec<Line<'static>> {
    vec![
        Line::styled(answer.what.clone(), palette.level(answer.level)),
        Line::raw(answer.why.clone()),
        Line::raw(numbers(picture)),
        Line::default(),
    ]
}

/// Only what is known.
fn numbers(picture: &Picture) -> String {
    let Some(state) = &picture.state else {
        return String::new();
    };
    let mut known = Vec::new();
    if let Some((requests, writes)) = picture.rates() {
        known.push(format!("{} requests/s", rate(requests)));
        known.push(format!("{} audit writes/s", rate(writes)));
    }
    if let Some(under_way) = state.under_way {
        known.push(format!("{under_way} under way"));
    }
    known.push(format!("{} held up", state.held_up));
    if state.totals.events_lost > 0 {
        known.push(format!("{} records lost", state.totals.events_lost));
    }
    known.join(", ")
}

fn rate(per_second: f64) -> String {
    if per_second < 10.0 {
        format!("{per_second:.1}")
    } else {
        format!("{per_second:.0}")
    }
}

fn device_table(
    picture: &Picture,
    state: &State,
    rows: usize,
    area: Rect,
    palette: Palette,
) -> Table<'static> {
    let is_wide = area.width >= WIDE;
    let shown = state.devices.iter().take(rows).map(|device| {
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
fn filled(at: Nanos, device: &DeviceState) -> String {
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

fn bytes_rate(picture: &Picture, device: &DeviceState) -> String {
    match picture.bytes_rate(&device.device) {
        None => String::new(),
        Some(rate) if rate < 1_000.0 => format!("{rate:.0} B/s"),
        Some(rate) if rate < 1_000_000.0 => format!("{:.0} kB/s", rate / 1e3),
        Some(rate) => format!("{:.1} MB/s", rate / 1e6),
    }
}

fn stall_table(state: &State, rows: usize, area: Rect, palette: Palette) -> Table<'static> {
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

fn hang_table(frame: &mut Frame<'_>, area: Rect, model: &Model, palette: Palette) {
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
