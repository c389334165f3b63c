//! Draws the model.

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Modifier, Style},
    text::Line,
    widgets::{Paragraph, Wrap},
};

use super::{
    detail,
    headline::{Headline, headline},
    model::{Level, Model, Page, ViewData},
    style::{Palette, WIDE, dim},
    tables::{device_table, draw_hangs, stall_table},
    words::duration,
};
use tracer_format::text::clean;
use tracer_model::Snapshot;

/// Draws the current page.
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
        Page::Hang => detail::draw_hang(frame, body, model, palette),
        Page::Help => detail::draw_help(frame, body, model, palette),
    }
    frame.render_widget(keys_line(model, keys.width), keys);
}

fn title_line(model: &Model, width: u16) -> Line<'static> {
    let data = model.data();
    let server = data.session.as_ref().map(|session| {
        let name = session.exe.rsplit('/').next().unwrap_or_default();
        format!("  {} (PID {})", clean(name), session.pid)
    });
    let mode = match (data.has_ended, model.is_paused()) {
        (true, _) => "ENDED",
        (_, true) => "PAUSED",
        _ => "live",
    };
    let now = data.snapshot().map(|snapshot| snapshot.at);
    let moment = now.map(|at| {
        let began = data.session.as_ref().map_or(at, |session| session.began);
        let clock = data.clock.time(at).strftime("%H:%M:%SZ");
        format!("{clock}  {}  ", duration(at.saturating_sub(began)))
    });
    let left = format!("vault-tracer{}", server.unwrap_or_default());
    let right = format!("{}{mode}", moment.unwrap_or_default());
    let has_room = left.chars().count() + right.chars().count() < usize::from(width);
    // On narrow screens without the time.
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
    Line::styled(text, dim())
}

/// Rows of a text that is wrapped at words.
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

/// Rows of tables; 0 if the table is not shown.
struct Rows {
    devices: usize,
    stalls: usize,
}

impl Rows {
    fn of(height: u16, snapshot: &Snapshot) -> Self {
        let most = usize::from(height / 5).max(1);
        Self {
            devices: snapshot.devices.len().min(most),
            stalls: snapshot.stalls.len().min(most),
        }
    }
}

fn overview(frame: &mut Frame<'_>, area: Rect, model: &Model, palette: Palette) {
    let data = model.data();
    let empty = Snapshot::default();
    let snapshot = data.snapshot().unwrap_or(&empty);
    let rows = Rows::of(area.height, snapshot);
    let table_height = |rows: usize| match rows {
        0 => Constraint::Length(0),
        // With a heading and a blank line.
        rows => Constraint::Length(rows as u16 + 2),
    };
    let message = data.message.as_ref();
    let message = message.map(|message| format!("! {}", clean(message)));
    let message_rows = message.as_ref().map_or(0, |text| rows_of(text, area.width));
    let lines = top_lines(headline(data), data, palette);
    let top_rows = lines
        .iter()
        .map(|line| rows_of(&line.to_string(), area.width));
    let [top, devices, stalls, hangs, bottom] = Layout::vertical([
        Constraint::Length(top_rows.sum::<u16>().min(area.height / 2)),
        table_height(rows.devices),
        table_height(rows.stalls),
        Constraint::Min(0),
        Constraint::Length(message_rows.min(2)),
    ])
    .areas(area);
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }), top);
    if rows.devices > 0 {
        let table = device_table(data, snapshot, rows.devices, devices, palette);
        frame.render_widget(table, devices);
    }
    if rows.stalls > 0 {
        let table = stall_table(snapshot, rows.stalls, stalls, palette);
        frame.render_widget(table, stalls);
    }
    draw_hangs(frame, hangs, model, palette);
    if let Some(message) = message {
        let message = Line::styled(message, palette.level(Level::Warning));
        frame.render_widget(Paragraph::new(message).wrap(Wrap { trim: false }), bottom);
    }
}

fn top_lines(headline: Headline, data: &ViewData, palette: Palette) -> Vec<Line<'static>> {
    let mut lines = vec![
        Line::styled(headline.status, palette.level(headline.level)),
        Line::raw(headline.detail),
    ];
    lines.extend(headline.outage.map(Line::raw));
    let remedy = headline.remedy.map(|remedy| format!("remedy: {remedy}"));
    lines.extend(remedy.map(Line::raw));
    lines.push(Line::raw(statistics(data)));
    lines.push(Line::default());
    lines
}

fn statistics(data: &ViewData) -> String {
    let Some(snapshot) = data.snapshot() else {
        return String::new();
    };
    let mut known = Vec::new();
    if let Some((requests, writes)) = data.rates() {
        known.push(format!("{} requests/s", rate(requests)));
        known.push(format!("{} audit writes/s", rate(writes)));
    }
    if let Some(under_way) = snapshot.under_way {
        known.push(format!("{under_way} under way"));
    }
    known.push(format!("{} blocked", snapshot.blocked));
    if snapshot.totals.events_lost > 0 {
        known.push(format!("{} records lost", snapshot.totals.events_lost));
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
