//! Colours and widths.

use ratatui::style::{Color, Modifier, Style};

use super::model::Level;

/// Least width at which tables have all their columns.
pub(super) const WIDE: u16 = 72;

/// Styles, with colours or without.
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

/// For secondary text.
pub(super) fn dim() -> Style {
    Style::new().add_modifier(Modifier::DIM)
}
