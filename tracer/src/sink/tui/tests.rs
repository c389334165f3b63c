//! Screens of the live view at moments of recorded traces, and the effect of keys.
//!
//! `UPDATE_SCREENS=1 cargo test -p vault-tracer --lib tui` rewrites the expected screens (`screens/`).

use std::{env, fs, path::Path};

use ratatui::{
    Terminal,
    backend::TestBackend,
    buffer::Buffer,
    crossterm::event::{KeyCode, KeyEvent, KeyModifiers},
    style::Color,
};
use test_support::replays;

use super::{
    draw::draw,
    keys::press,
    model::{Model, SortOrder},
    style::Palette,
};
use crate::source::recording;
use tracer_core::Core;
use tracer_model::{Condition, Event, EventKind, Finding, Hang, Nanos};

/// The smallest that is common, one that is narrow, and one that is low.
const SIZES: [(&str, u16, u16); 3] = [("80x24", 80, 24), ("40x24", 40, 24), ("80x8", 80, 8)];

const MONOCHROME: Palette = Palette { coloured: false };

/// A replay and its view.
struct Watch {
    core: Core,
    model: Model,
}

impl Watch {
    /// Replays up to the first tick after a finding that fulfils `is_there`.
    fn until(case: &str, is_there: impl Fn(&Finding) -> bool) -> Self {
        let mut watch = Self {
            core: Core::new(),
            model: Model::default(),
        };
        let mut is_over = false;
        for event in recorded(case) {
            if matches!(event.what, EventKind::SendQueues { .. } | EventKind::End) {
                watch.add_snapshot(event.at);
            }
            for finding in watch.core.on(&event).findings {
                is_over |= is_there(&finding);
                watch.model.apply(&finding);
            }
            if event.what == EventKind::Tick {
                watch.add_snapshot(event.at);
                if is_over {
                    break;
                }
            }
        }
        watch
    }

    fn add_snapshot(&mut self, at: Nanos) {
        let state = Finding::Snapshot(Box::new(self.core.snapshot(at)));
        self.model.apply(&state);
    }
}

fn recorded(case: &str) -> Vec<Event> {
    recording::read(&replays::recording(case)).expect("a recording")
}

fn buffer(model: &Model, (width, height): (u16, u16), palette: Palette) -> Buffer {
    let backend = TestBackend::new(width, height);
    let mut terminal = Terminal::new(backend).expect("a terminal");
    let drawn = terminal.draw(|frame| draw(frame, model, palette));
    drawn.expect("drawn").buffer.clone()
}

/// As text, without blanks at the ends of its lines.
fn screen(model: &Model, (width, height): (u16, u16)) -> String {
    let buffer = buffer(model, (width, height), MONOCHROME);
    let mut text = String::new();
    for y in 0..height {
        let line: String = (0..width).map(|x| buffer[(x, y)].symbol()).collect();
        text += line.trim_end();
        text.push('\n');
    }
    text
}

/// Compares the screen with those in `screens/`, at all sizes.
fn expect_screens(model: &Model, name: &str) {
    let screens = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/sink/tui/screens");
    for (suffix, width, height) in SIZES {
        let path = screens.join(format!("{name}-{suffix}.txt"));
        let drawn = screen(model, (width, height));
        if env::var_os("UPDATE_SCREENS").is_some() {
            fs::create_dir_all(&screens).expect("a directory");
            fs::write(&path, &drawn).expect("written");
        }
        let expected = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            drawn == expected,
            "{name}-{suffix}:\n{drawn}\nexpected:\n{expected}"
        );
    }
}

fn pressed(model: &mut Model, code: KeyCode) -> bool {
    press(model, KeyEvent::new(code, KeyModifiers::NONE))
}

fn is_hang(finding: &Finding) -> bool {
    matches!(finding, Finding::Hang(_))
}

/// Several requests behind one another.
fn many() -> Model {
    Watch::until("convoy", |_| false).model
}

#[test]
fn the_headline_is_an_open_stall() {
    let watch = Watch::until(
        "convoy",
        |finding| matches!(finding, Finding::Stalled(stalled) if stalled.waiting > 0),
    );
    expect_screens(&watch.model, "stalled");
    let first = screen(&watch.model, (80, 24));
    let second = first.lines().nth(1).expect("a line");
    assert!(second.starts_with("BLOCKED  tcp "), "{second}");
}

#[test]
fn a_filling_buffer_is_a_warning() {
    let watch = Watch::until("filling-warning", |f| matches!(f, Finding::Filling(_)));
    expect_screens(&watch.model, "filling");
}

#[test]
fn a_healthy_server_is_ok() {
    let watch = Watch::until("healthy-load", |finding| {
        matches!(finding, Finding::Summary(_))
    });
    expect_screens(&watch.model, "healthy");
    assert!(screen(&watch.model, (80, 24)).contains("ENDED"));
}

#[test]
fn a_hang_can_be_inspected() {
    let mut watch = Watch::until("drop-on-vault-host", is_hang);
    pressed(&mut watch.model, KeyCode::Enter);
    expect_screens(&watch.model, "hang");
    pressed(&mut watch.model, KeyCode::Esc);
    assert!(screen(&watch.model, (80, 24)).contains("LAST HANGS"));
}

#[test]
fn the_keys_are_explained() {
    let mut model = Model::default();
    pressed(&mut model, KeyCode::Char('?'));
    expect_screens(&model, "help");
}

#[test]
fn every_page_can_be_drawn_in_any_size() {
    let mut model = many();
    for page in [KeyCode::Esc, KeyCode::Enter, KeyCode::Char('?')] {
        pressed(&mut model, page);
        for size in [(1, 1), (2, 3), (10, 2), (300, 100), (0, 0)] {
            buffer(&model, size, Palette { coloured: true });
        }
    }
}

fn shown_hangs(model: &Model) -> Vec<Hang> {
    let hangs = model.hangs();
    hangs.iter().map(|past| (*past.hang).clone()).collect()
}

#[test]
fn hangs_are_sorted_by_time_duration_and_device() {
    let mut model = Watch::until("two-devices", |_| false).model;
    assert!(shown_hangs(&model).len() > 1);
    pressed(&mut model, KeyCode::Char('s'));
    assert_eq!(model.sort, SortOrder::Duration);
    assert!(shown_hangs(&model).is_sorted_by(|a, b| a.duration >= b.duration));
    pressed(&mut model, KeyCode::Char('s'));
    assert_eq!(model.sort, SortOrder::Device);
    assert!(shown_hangs(&model).is_sorted_by(|a, b| a.device <= b.device));
    pressed(&mut model, KeyCode::Char('s'));
    assert_eq!(model.sort, SortOrder::Time);
    assert!(screen(&model, (80, 24)).contains("s sort: time"));
}

#[test]
fn a_paused_view_does_not_change_and_misses_nothing() {
    let mut watch = Watch::until("convoy", |f| matches!(f, Finding::Stalled(_)));
    pressed(&mut watch.model, KeyCode::Char('p'));
    let still = screen(&watch.model, (80, 24));
    assert!(still.contains("PAUSED"), "{still}");
    let later = Watch::until("convoy", |_| false);
    let hang = shown_hangs(&later.model).remove(0);
    watch.model.apply(&Finding::Hang(Box::new(hang)));
    watch.model.apply(&Finding::Snapshot(Box::default()));
    assert_eq!(screen(&watch.model, (80, 24)), still);
    pressed(&mut watch.model, KeyCode::Char('p'));
    let on = screen(&watch.model, (80, 24));
    assert!(on.contains("LAST HANGS") && !on.contains("PAUSED"), "{on}");
}

#[test]
fn the_chosen_hang_stays_chosen_when_others_come_and_the_order_changes() {
    let mut model = many();
    pressed(&mut model, KeyCode::Down);
    pressed(&mut model, KeyCode::Down);
    let chosen = model.chosen().expect("chosen").number;
    let hang = shown_hangs(&model).remove(0);
    model.apply(&Finding::Hang(Box::new(hang)));
    assert_eq!(model.chosen().expect("chosen").number, chosen);
    assert_eq!(model.chosen_index(), Some(2));
    pressed(&mut model, KeyCode::Char('s'));
    assert_eq!(model.chosen().expect("chosen").number, chosen);
    pressed(&mut model, KeyCode::Home);
    assert_eq!(model.chosen_index(), Some(0));
    pressed(&mut model, KeyCode::End);
    assert_eq!(model.chosen_index(), Some(model.hangs().len() - 1));
}

#[test]
fn q_and_control_c_are_the_end_and_no_other_key_is() {
    let mut model = many();
    assert!(pressed(&mut model, KeyCode::Char('q')));
    let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert!(press(&mut model, control_c));
    for key in [
        KeyCode::Char('c'),
        KeyCode::Esc,
        KeyCode::Enter,
        KeyCode::Char('x'),
    ] {
        assert!(!pressed(&mut model, key));
    }
}

/// A client may ask for a path that a terminal would obey.
#[test]
fn control_characters_of_clients_are_escaped() {
    let mut model = many();
    let mut hang = shown_hangs(&model).remove(0);
    hang.request.path = Some("evil\u{1b}[2J\u{1b}]0;title\u{7}/\u{202e}txt".to_owned());
    hang.request.id = Some("id\r\n".to_owned());
    model.apply(&Finding::Hang(Box::new(hang)));
    model.apply(&Finding::Warning("look\u{9b}31m".to_owned()));
    for page in [KeyCode::Esc, KeyCode::Enter] {
        pressed(&mut model, page);
        let text = screen(&model, (200, 60));
        let obeyed = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!text.contains(obeyed), "{text:?}");
        assert!(text.contains(r"evil\u{1b}[2J"), "{text}");
    }
}

#[test]
fn colours_are_used_only_where_they_may_be() {
    let watch = Watch::until("convoy", |f| matches!(f, Finding::Stalled(_)));
    let is_coloured = |coloured| {
        let buffer = buffer(&watch.model, (80, 24), Palette { coloured });
        let mut cells = buffer.content().iter();
        cells.any(|cell| (cell.fg, cell.bg) != (Color::Reset, Color::Reset))
    };
    assert!(is_coloured(true));
    assert!(!is_coloured(false));
}

/// Where there is no room for all devices.
#[test]
fn a_stalled_device_is_never_left_out() {
    let watch = Watch::until("convoy", |f| matches!(f, Finding::Stalled(_)));
    let mut state = watch
        .core
        .snapshot(watch.model.data().snapshot().expect("a snapshot").at);
    let stalled = state.devices[0].clone();
    for number in 0..9 {
        let mut other = stalled.clone();
        other.device.address = format!("10.0.0.{number}:1515");
        other.condition = Some(Condition::Works);
        state.devices.insert(0, other);
    }
    let mut model = watch.model;
    model.apply(&Finding::Snapshot(Box::new(state)));
    let text = screen(&model, (80, 24));
    let row = text.lines().find(|line| line.contains(" stalled "));
    let row = row.expect("a stalled device");
    assert!(row.starts_with(&stalled.device.to_string()), "{text}");
    assert!(text.contains("DEVICE (+"), "{text}");
}
