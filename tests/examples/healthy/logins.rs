//! Logins, one after the other.

use std::{
    sync::atomic::Ordering,
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use lab::Client;

use super::{clients::Progress, kubernetes::login};

/// By both clusters in turn, `rate` a second, until so many requests have been answered in all.
pub(crate) fn run(client: &Client, rate: f64, goal: usize, progress: &Progress) -> Result<()> {
    let mut due = Instant::now();
    for number in 0.. {
        if rate <= 0.0 || progress.reached(goal) {
            break;
        }
        let answer = login(client, number % 2)?;
        progress.logins.fetch_add(1, Ordering::Relaxed);
        progress.note(answer);
        due += Duration::from_secs_f64(1.0 / rate);
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    Ok(())
}
