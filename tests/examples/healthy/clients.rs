//! Clients that ask, one request after the other, and note what took long.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use lab::{Client, Measured, scenario::BIG_REQUEST};
use serde_json::json;

/// A request that takes longer may have waited for a device.
const SLOW: Duration = Duration::from_millis(50);

/// What all clients did together.
#[derive(Default)]
pub(crate) struct Progress {
    pub(crate) requests: AtomicUsize,
    pub(crate) logins: AtomicUsize,
    slow: Mutex<Vec<Measured>>,
}

impl Progress {
    pub(crate) fn reached(&self, goal: usize) -> bool {
        self.requests.load(Ordering::Relaxed) >= goal
    }

    /// Counts a request that was answered.
    pub(crate) fn note(&self, mut request: Measured) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        if request.duration > SLOW {
            request.body.clear();
            let mut slow = self.slow.lock().unwrap_or_else(PoisonError::into_inner);
            slow.push(request);
        }
    }

    /// Requests that took long.
    pub(crate) fn slow(&self) -> Vec<Measured> {
        let slow = self.slow.lock().unwrap_or_else(PoisonError::into_inner);
        slow.clone()
    }
}

/// Requests on one connection, `rate` a second.
pub(crate) fn run(
    client: &Client,
    rate: Option<f64>,
    goal: usize,
    progress: &Progress,
) -> Result<()> {
    let mut connection = client.connect()?;
    let mut due = Instant::now();
    for number in 0.. {
        if progress.reached(goal) {
            break;
        }
        let request = match number % 50 {
            0 => connection.get(BIG_REQUEST)?,
            1 => connection.put("/v1/secret/data/healthy", &json!({ "data": { "a": "b" } }))?,
            2 => connection.get("/v1/secret/data/healthy")?,
            3 => connection.get("/v1/sys/health")?, // not audited
            _ => connection.get("/v1/auth/token/lookup-self")?,
        };
        ensure!(
            request.status < 300,
            "{}: HTTP {}",
            request.path,
            request.status
        );
        progress.note(request);
        if let Some(rate) = rate {
            due += Duration::from_secs_f64(1.0 / rate);
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
    }
    Ok(())
}
