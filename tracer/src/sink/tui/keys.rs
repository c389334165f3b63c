//! Key bindings.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::model::{Model, Page};

/// Rows that Page Up and Page Down move.
const PAGE_ROWS: usize = 10;

/// Keys and what they do, for the help.
pub(super) const HELP: [(&str, &str); 7] = [
    ("p", "pause the screen; the trace goes on"),
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

/// Handles a key. Returns whether it quits.
pub(super) fn press(model: &mut Model, key: KeyEvent) -> bool {
    if key.kind == KeyEventKind::Release {
        return false;
    }
    let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
    match key.code {
        KeyCode::Char('c') if is_control => return true,
        // No other control key is bound.
        _ if is_control => {}
        KeyCode::Char('q') => return true,
        KeyCode::Char('p') => model.toggle_pause(),
        KeyCode::Char('s') => model.sort = model.sort.next(),
        KeyCode::Char('?' | 'h') => model.page = Page::Help,
        KeyCode::Up | KeyCode::Char('k') => model.up(1),
        KeyCode::Down | KeyCode::Char('j') => model.down(1),
        KeyCode::PageUp => model.up(PAGE_ROWS),
        KeyCode::PageDown => model.down(PAGE_ROWS),
        KeyCode::Home => model.up(usize::MAX),
        KeyCode::End => model.down(usize::MAX),
        KeyCode::Enter => model.inspect(),
        KeyCode::Esc | KeyCode::Backspace => model.page = Page::Overview,
        _ => {}
    }
    false
}
