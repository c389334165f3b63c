//! How far a task is on its way to its own work. The first stage (`xtask/src/needs.rs`) knows the steps, and has done the
//! first two.

use std::{
    env,
    sync::atomic::{AtomicUsize, Ordering},
};

/// The names of all steps, separated by commas. Not set under sudo, where nothing is left to prepare.
const STEPS: &str = "VAULT_TRACER_STEPS";

/// The last one that was announced: a part that is asked for twice is announced once.
static ANNOUNCED: AtomicUsize = AtomicUsize::new(0);

/// Announces the step of this name, if this task has it: `[4/6] building the agent`.
pub fn begin(name: &str, text: &str) {
    let steps = env::var(STEPS).unwrap_or_default();
    let steps: Vec<_> = steps.split(',').collect();
    if let Some(number) = number(&steps, name)
        && ANNOUNCED.fetch_max(number, Ordering::Relaxed) < number
    {
        eprintln!("[{number}/{}] {text}", steps.len());
    }
}

fn number(steps: &[&str], name: &str) -> Option<usize> {
    let position = steps.iter().position(|step| *step == name)?;
    Some(position + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_counted_from_one() {
        let steps = ["check", "tasks", "agent"];
        assert_eq!(number(&steps, "agent"), Some(3));
        assert_eq!(number(&steps, "openbao"), None);
        assert_eq!(number(&[""], "agent"), None);
    }
}
