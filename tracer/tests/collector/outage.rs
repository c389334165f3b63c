//! A collector that restarts during a trace, and one that accepts nothing until the buffer is full. These use the sink
//! directly, since a replay is over too soon.

use std::sync::Arc;

use anyhow::Result;
use http::HeaderMap;
use test_support::replays;
use tracer::{
    sink::{
        Sink, Worker,
        otlp::{
            collector::{Collector, Endpoint},
            spans::Spans,
        },
    },
    source::recording,
};
use tracer_model::Finding;

use crate::{
    agent::{spans, wait_until},
    fake::{Answer, BOTH, Fake, Speaks},
};

fn findings() -> Result<Vec<Finding>> {
    let events = recording::read(&replays::recording("convoy"))?;
    Ok(tracer_core::replay(&events).collect())
}

fn collector(url: &str, speaks: Speaks) -> Result<Collector> {
    use tracer::sink::otlp::collector::Protocol;
    let protocol = match speaks {
        Speaks::Grpc => Protocol::Grpc,
        Speaks::Http => Protocol::Http,
    };
    let endpoint = Endpoint::parse(url, Some(protocol)).map_err(anyhow::Error::msg)?;
    Collector::start(endpoint, HeaderMap::new(), true)
}

#[test]
fn spans_of_an_outage_arrive_after_it() -> Result<()> {
    let findings = findings()?;
    let (before, after) = findings.split_at(findings.len() / 2);
    let mut made = Spans::default();
    let expected = spans(findings.iter().filter_map(|finding| made.on(finding)));
    for speaks in BOTH {
        let first = Fake::new(speaks, &[])?;
        let mut worker = Worker::spawn(collector(&first.url(), speaks)?);
        for finding in before {
            worker.send(&Arc::new(finding.clone()));
        }
        let mut made = Spans::default();
        let half = spans(before.iter().filter_map(|finding| made.on(finding))).len();
        wait_until("the first half arrived", || {
            spans(first.taken()).len() == half
        })?;
        let (mut all, address) = (first.taken(), first.address);
        drop(first);

        for finding in after {
            worker.send(&Arc::new(finding.clone()));
        }
        let second = Fake::at(address, speaks, &[Answer::Busy(None)], None)?;
        worker.finish()?;
        all.extend(second.taken());
        assert!(spans(all) == expected, "{speaks:?}");
    }
    Ok(())
}

#[test]
fn a_full_buffer_blocks_nobody_and_lost_spans_are_counted() -> Result<()> {
    let findings = findings()?;
    let silent = Fake::always(Speaks::Http, Answer::Silence)?;
    let mut sink = collector(&silent.url(), Speaks::Http)?;
    let mut made = Spans::default();
    let (mut count, mut bytes) = (0, 0);
    // Far more than the buffer has room for: each write succeeds.
    while bytes < 24 << 20 {
        for finding in &findings {
            sink.write(finding)?;
            if let Some(request) = made.on(finding) {
                bytes += prost::Message::encoded_len(&request);
                count += spans([request]).len() as u64;
            }
        }
    }
    let error = sink.finish().expect_err("nothing arrived").to_string();
    assert_eq!(sink.unsettled(), count, "{error}");
    let number = |what: &str| -> u64 {
        let words: Vec<_> = error.split([',', ':']).collect();
        let found = words.iter().find(|words| words.contains(what));
        let number = found.and_then(|words| words.split_whitespace().next());
        number.and_then(|number| number.parse().ok()).unwrap_or(0)
    };
    let (unsent, dropped) = (
        number("not confirmed in time"),
        number("without room to wait"),
    );
    assert_eq!(unsent + dropped, count, "{error}");
    assert!(unsent > 0 && dropped > 0, "{error}");
    Ok(())
}
