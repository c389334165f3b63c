//! A collector that goes and comes back while a trace goes on, and one that takes nothing for so long that there is no
//! room left. By the sink itself, since a replay is over too soon.

use std::sync::Arc;

use anyhow::Result;
use http::HeaderMap;
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
use tracer_core;
use tracer_model::Finding;

use crate::{
    agent::{recording, spans, wait_until},
    fake::{Answer, BOTH, Fake, Speaks},
};

fn findings() -> Result<Vec<Finding>> {
    let events = recording::read(&recording("convoy"))?;
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
fn what_happens_while_a_collector_is_away_arrives_when_it_is_back() -> Result<()> {
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
fn what_there_is_no_room_for_holds_up_nobody_and_is_counted() -> Result<()> {
    let findings = findings()?;
    let silent = Fake::always(Speaks::Http, Answer::Silence)?;
    let mut sink = collector(&silent.url(), Speaks::Http)?;
    let mut made = Spans::default();
    let (mut count, mut bytes) = (0, 0);
    // More than there is room for by far, and each is taken without a word.
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
    let (unsent, left_out) = (
        number("not confirmed in time"),
        number("without room to wait"),
    );
    assert_eq!(unsent + left_out, count, "{error}");
    assert!(unsent > 0 && left_out > 0, "{error}");
    Ok(())
}
