//! The model on a screen.

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::Line,
    widgets::{Paragraph, Wrap},
};

use super::{
    answer::{Answer, answer, time},
    detail,
    model::{Level, Model, Page, Picture},
    tables::{device_table, hang_table, stall_table},
};
use crate::sink::clean::clean;
use tracer_model::Snapshot;

/// From so many columns on, all of a table's are shown.
pub(super) const WIDE: u16 = 72;

/// Looks, with colours or without.
#[derive(Clone, Copy, Debug)]
pub struct Palette {
    /// Whether there are colours.
    pub coloured: bool,
}

impl Palette {
    pub(super) fn level(self, level: Level) -> Style {
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
    fn of(height: u16, state: &Snapshot) -> Self {
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
    let nothing = Snapshot::default();
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
