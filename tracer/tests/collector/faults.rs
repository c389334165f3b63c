//! Collectors that fail: they do not block the agent, and every lost span is counted and reported.

use std::{io, net::TcpListener, process::Stdio, time::Duration};

use anyhow::{Context, Result};

use crate::{
    agent::{Agent, Ended, PATIENCE, command, expected, reporting, spans},
    fake::{Answer, BOTH, Fake, Port, Speaks},
};

const CASE: &str = "zero-window";

fn start(url: &str, speaks: Speaks) -> Result<Agent> {
    let mut command = command(CASE, url);
    Agent::start(command.args(["--otlp-protocol", speaks.name()]))
}

fn replay(to: &Fake) -> Result<Ended> {
    start(&to.url(), to.speaks())?.ended()
}

/// The number of lines with this text.
fn lines(ended: &Ended, text: &str) -> usize {
    ended
        .said
        .lines()
        .filter(|line| line.contains(text))
        .count()
}

#[test]
fn a_collector_may_start_later() -> Result<()> {
    for speaks in BOTH {
        let port = Port::reserve()?;
        let agent = start(&format!("http://{}", port.address), speaks)?;
        agent.says("cannot send spans")?;
        let collector = Fake::on_port(port, speaks)?;
        let ended = agent.ended()?;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(spans(collector.taken()) == expected(CASE)?, "{speaks:?}");
        assert_eq!(ended.said.lines().count(), 2, "{ended:?}");
        assert_eq!(lines(&ended, "Connection refused"), 1, "{ended:?}");
        assert_eq!(lines(&ended, "accepts spans again"), 1, "{ended:?}");
    }
    Ok(())
}

#[test]
fn a_busy_collector_is_retried() -> Result<()> {
    for speaks in BOTH {
        let busy = Answer::Busy(None);
        let collector = Fake::new(speaks, &[Answer::Take, busy, busy, busy])?;
        let ended = replay(&collector)?;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert_eq!(ended.said.lines().count(), 2, "{ended:?}");
        assert!(spans(collector.taken()) == expected(CASE)?, "{speaks:?}");
        let asked = collector.asked();
        // The empty one, three that fail, at least one that is accepted.
        assert!(asked.len() >= 5, "{}", asked.len());
        let waits = asked[1..].windows(2).map(|two| two[1].0 - two[0].0);
        // At the end of a trace the first retry may come at once.
        let waited: Duration = waits.skip(1).sum();
        assert!(waited >= Duration::from_millis(500), "{waited:?}");
    }
    Ok(())
}

/// As with `2>&1 | head`.
#[test]
fn spans_arrive_where_nobody_reads_what_is_reported_of_the_collector() -> Result<()> {
    for speaks in BOTH {
        let collector = Fake::new(speaks, &[Answer::Busy(None)])?;
        let (reader, writer) = io::pipe()?;
        drop(reader);
        let status = reporting(CASE, &collector.url())
            .args(["--otlp-protocol", speaks.name()])
            .stdout(Stdio::null())
            .stderr(writer)
            .status()?;
        assert_eq!(status.code(), Some(0), "{speaks:?}");
        assert!(spans(collector.taken()) == expected(CASE)?, "{speaks:?}");
    }
    Ok(())
}

#[test]
fn retry_after_is_respected() -> Result<()> {
    for speaks in BOTH {
        let wait = Duration::from_secs(2);
        let collector = Fake::new(speaks, &[Answer::Take, Answer::Busy(Some(wait))])?;
        let ended = replay(&collector)?;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let asked = collector.asked();
        assert!(asked.len() >= 3, "{}", asked.len());
        assert!(asked[2].0 - asked[1].0 >= wait, "{speaks:?}");
        assert!(spans(collector.taken()) == expected(CASE)?, "{speaks:?}");
    }
    Ok(())
}

#[test]
fn spans_are_lost_and_counted_if_retry_after_is_too_long() -> Result<()> {
    for speaks in BOTH {
        let later = Answer::Busy(Some(Duration::from_hours(1)));
        let collector = Fake::always(speaks, later)?;
        let ended = replay(&collector)?;
        let count = expected(CASE)?.len();
        assert_eq!(ended.code, Some(1), "{ended:?}");
        let lost = format!("{count} spans could not be written to the collector at http://");
        assert_eq!(lines(&ended, &lost), 1, "{ended:?}");
        assert!(ended.took < PATIENCE, "{ended:?}");
        assert_eq!(collector.asked().len(), 1, "retried too early");
    }
    Ok(())
}

/// The limit is 5 s: all four are waited for at once.
#[test]
fn a_collector_that_never_answers_delays_the_end_no_longer_than_the_limit() -> Result<()> {
    let collectors = BOTH.map(|speaks| Fake::always(speaks, Answer::Silence));
    let collectors = collectors.into_iter().collect::<Result<Vec<_>>>()?;
    // Its connections are never accepted.
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}", listener.local_addr()?);
    let silent = collectors.iter().map(|to| start(&to.url(), to.speaks()));
    let silent = silent.collect::<Result<Vec<_>>>()?;
    let unaccepted = BOTH.map(|speaks| start(&url, speaks));
    for agent in silent {
        let ended = is_given_up(agent)?;
        assert_eq!(lines(&ended, "no answer"), 1, "{ended:?}");
    }
    for agent in unaccepted {
        is_given_up(agent?)?;
    }
    Ok(())
}

fn is_given_up(agent: Agent) -> Result<Ended> {
    let ended = agent.ended()?;
    let lost = format!("{} spans could not be written", expected(CASE)?.len());
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_eq!(lines(&ended, &lost), 1, "{ended:?}");
    assert!(ended.took < PATIENCE, "{ended:?}");
    Ok(ended)
}

#[test]
fn a_collector_that_does_not_run_is_two_lines() -> Result<()> {
    let port = Port::reserve()?;
    let ended = start(&format!("http://{}", port.address), Speaks::Grpc)?.ended()?;
    assert_eq!(
        (ended.code, ended.said.lines().count()),
        (Some(1), 2),
        "{ended:?}"
    );
    let last = ended.said.lines().last().context("a line")?;
    let count = expected(CASE)?.len();
    assert!(
        last.starts_with(&format!("vault-tracer: {count} spans could not be written")),
        "{last}"
    );
    assert!(ended.took < PATIENCE, "{ended:?}");
    Ok(())
}

#[test]
fn a_partial_success_is_counted_and_reported_once() -> Result<()> {
    for speaks in BOTH {
        let script = [Answer::Take, Answer::Partly(2)];
        let collector = Fake::new(speaks, &script)?;
        let ended = replay(&collector)?;
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert_eq!(lines(&ended, "rejects some spans: too old"), 1, "{ended:?}");
        assert_eq!(
            lines(&ended, "2 spans could not be written"),
            1,
            "{ended:?}"
        );
        assert_eq!(lines(&ended, "2 rejected: too old"), 1, "{ended:?}");
    }
    Ok(())
}

#[test]
fn refused_spans_are_not_retried() -> Result<()> {
    for speaks in BOTH {
        let collector = Fake::always(speaks, Answer::Refuse)?;
        let ended = replay(&collector)?;
        let count = expected(CASE)?.len();
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert_eq!(lines(&ended, "refuses spans: "), 1, "{ended:?}");
        assert_eq!(
            lines(&ended, &format!("{count} spans could not be written")),
            1,
            "{ended:?}"
        );
        assert!(ended.took < PATIENCE, "{ended:?}");
    }
    Ok(())
}

#[test]
fn a_wrong_protocol_is_an_error() -> Result<()> {
    for (server, client) in [(Speaks::Grpc, Speaks::Http), (Speaks::Http, Speaks::Grpc)] {
        let collector = Fake::new(server, &[])?;
        let ended = start(&collector.url(), client)?.ended()?;
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.said.contains("check that it"), "{ended:?}");
        assert!(collector.taken().is_empty());
    }
    Ok(())
}
