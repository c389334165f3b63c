//! What each key does.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::model::Model;

/// Rows that a page is.
const PAGE: usize = 10;

/// What the keys are, for the help.
pub(super) const HELP: [(&str, &str); 7] = [
    ("p", "pause: the picture stands still, the trace goes on"),
    ("s", "sort the hangs: by time, duration, device"),
    ("up, down", "choose a hang (also k, j, Page Up, Page Down)"),
    ("Enter", "what the chosen hang was, and why"),
    ("Esc", "back"),
    ("?", "this"),
    (
        "q, Ctrl-C",
        "end the trace; its report stays on the terminal",
    ),
];

/// Does what the key means; says whether that is the end.
pub(super) fn press(model: &mut Model, key: KeyEvent) -> bool {
    if key.kind == KeyEventKind::Release {
        return false;
    }
    let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
    match key.code {
        KeyCode::Char('c') if is_control => return true,
        // Others are no letters.
        _ if is_control => {}
        KeyCode::Char('q') => return true,
        KeyCode::Char('p') => model.pause(),
        KeyCode::Char('s') => model.sort_otherwise(),
        KeyCode::Char('?' | 'h') => model.help(),
        KeyCode::Up | KeyCode::Char('k') => model.up(1),
        KeyCode::Down | KeyCode::Char('j') => model.down(1),
        KeyCode::PageUp => model.up(PAGE),
        KeyCode::PageDown => model.down(PAGE),
        KeyCode::Home => model.up(usize::MAX),
        KeyCode::End => model.down(usize::MAX),
        KeyCode::Enter => model.inspect(),
        KeyCode::Esc | KeyCode::Backspace => model.back(),
        _ => {}
    }
    false
}
