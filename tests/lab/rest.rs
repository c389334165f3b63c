//! When a process has done what it was about.

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

/// For a thread that never rests.
const LIMIT: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(1);

/// Waits until each thread of this process has been seen to wait: by then it has returned from the system call in which it was. A
/// client may have its answer before: a send wakes who waits for it, and a busy machine lets that one go first.
pub fn wait_for_rest(pid: u32) {
    let threads = fs::read_dir(format!("/proc/{pid}/task"));
    let paths = threads
        .into_iter()
        .flatten()
        .flatten()
        .map(|thread| thread.path());
    let mut busy: Vec<_> = paths.collect();
    let begun = Instant::now();
    loop {
        busy.retain(|thread| is_busy(thread));
        if busy.is_empty() || begun.elapsed() > LIMIT {
            return;
        }
        thread::sleep(POLL);
    }
}

/// Runs, would run if it had a processor, or waits for a disk. Not one that has ended.
fn is_busy(thread: &Path) -> bool {
    let stat = fs::read_to_string(thread.join("stat")).unwrap_or_default();
    // Behind the name, which may have parentheses of its own.
    let state = stat.rsplit(") ").next().unwrap_or_default();
    state.starts_with(['R', 'D'])
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn who_waits_is_not_busy() {
        let (wake, woken) = mpsc::channel::<()>();
        let (name, named) = mpsc::channel();
        let waiting = thread::spawn(move || {
            let own = fs::read_link("/proc/thread-self").expect("a thread");
            name.send(own).expect("somebody asks");
            let _ = woken.recv();
        });
        let thread = Path::new("/proc").join(named.recv().expect("a name"));
        let begun = Instant::now();
        while is_busy(&thread) {
            assert!(begun.elapsed() < LIMIT, "it waits");
        }
        drop(wake);
        waiting.join().expect("no panic");
        assert!(is_busy(Path::new("/proc/thread-self")), "who asks runs");
        assert!(!is_busy(Path::new("/proc/self/task/none")));
    }
}
