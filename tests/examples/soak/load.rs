//! Clients that ask all the time, and what they measured.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, SystemTime},
};

use lab::{Client, scenario::BIG_REQUEST};

const CLIENTS: usize = 3;
/// Between two requests of a client.
const PAUSE: Duration = Duration::from_millis(5);
/// Where nobody answers.
const RETRY: Duration = Duration::from_millis(100);

/// A request that was answered.
#[derive(Clone, Debug)]
pub(crate) struct Answered {
    pub(crate) id: Option<String>,
    pub(crate) started: SystemTime,
    pub(crate) took: Duration,
}

/// All of them.
#[derive(Clone, Default)]
pub(crate) struct Requests(Arc<Mutex<Vec<Answered>>>);

impl Requests {
    pub(crate) fn all(&self) -> Vec<Answered> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn answered(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn add(&self, request: Answered) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(request);
    }
}

/// Stops when it is dropped.
pub(crate) struct Load {
    over: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    pub(crate) fn start(client: &Client, requests: &Requests) -> Self {
        let over = Arc::<AtomicBool>::default();
        let start = |_| {
            let (client, requests, over) = (client.clone(), requests.clone(), Arc::clone(&over));
            thread::spawn(move || ask(&client, &requests, &over))
        };
        Self {
            clients: (0..CLIENTS).map(start).collect(),
            over,
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for client in self.clients.drain(..) {
            // It has no result, and its panic was printed.
            let _ = client.join();
        }
    }
}

fn ask(client: &Client, requests: &Requests, over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        // The server may be away.
        let Ok(mut connection) = client.connect() else {
            thread::sleep(RETRY);
            continue;
        };
        while !over.load(Ordering::Relaxed) {
            let Ok(request) = connection.get(BIG_REQUEST) else {
                break;
            };
            requests.add(Answered {
                id: request.request_id,
                started: request.started,
                took: request.duration,
            });
            thread::sleep(PAUSE);
        }
    }
}
