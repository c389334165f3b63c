//! How far long work is: a bar on standard error, if that is a terminal and there is much to read.

use std::io::Read;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Less than this is read before anybody could look.
const MUCH: u64 = 16 << 20;

/// A bar, by bytes read. Gone when it is dropped.
pub(super) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Over so many bytes, if that is known.
    pub(super) fn over(what: &'static str, size: Option<u64>) -> Self {
        let target = if size.is_none_or(|size| size >= MUCH) {
            // Draws nothing where that is no terminal.
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(size, target);
        let template = if size.is_some() {
            "{msg} {wide_bar} {bytes}/{total_bytes}, {eta} to go"
        } else {
            "{msg} {spinner} {bytes}, {bytes_per_sec}"
        };
        let style = ProgressStyle::with_template(template);
        bar.set_style(style.expect("a template of known keys"));
        bar.set_message(what);
        Self { bar }
    }

    /// What is read through this moves the bar.
    pub(super) fn through<R: Read>(&self, input: R) -> impl Read + use<R> {
        self.bar.wrap_read(input)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
