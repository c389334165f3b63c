//! Delivery to a working collector.

use std::fs;

use anyhow::{Result, ensure};
use test_support::replays;

use crate::{
    agent::{Agent, Ended, command, expected, file, spans},
    fake::{BOTH, Fake, Identity},
};

fn replay(case: &str, to: &Fake) -> Result<Ended> {
    let mut command = command(case, &to.url());
    command.args(["--otlp-protocol", to.speaks().name()]);
    Agent::start(&mut command)?.ended()
}

#[test]
fn a_collector_gets_the_spans_of_the_file() -> Result<()> {
    for case in replays::names()? {
        let expected = expected(&case)?;
        for speaks in BOTH {
            let collector = Fake::new(speaks, &[])?;
            let ended = replay(&case, &collector)?;
            assert_eq!((ended.code, &*ended.said), (Some(0), ""), "{case}");
            assert!(spans(collector.taken()) == expected, "{case} by {speaks:?}");
        }
    }
    Ok(())
}

#[test]
fn findings_of_one_time_are_sent_together() -> Result<()> {
    let collector = Fake::new(BOTH[0], &[])?;
    replay("convoy", &collector)?;
    let requests = collector.taken();
    // The empty one only tests the connection.
    assert!(requests[0].resource_spans.is_empty());
    let findings = file("convoy")?.lines().count();
    assert!(requests.len() - 1 < findings, "{} requests", requests.len());
    let whole = &requests[requests.len() - 1].resource_spans;
    assert_eq!(whole.len(), 1, "the resource of one server is sent once");
    Ok(())
}

#[test]
fn headers_are_taken_from_the_environment() -> Result<()> {
    for speaks in BOTH {
        let collector = Fake::new(speaks, &[])?;
        let mut command = command("no-ack", &collector.url());
        command.args(["--otlp-protocol", speaks.name()]);
        command.env(
            "OTEL_EXPORTER_OTLP_HEADERS",
            "authorization=Bearer%20abc,x-team=vault",
        );
        let ended = Agent::start(&mut command)?.ended()?;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        for (_, headers) in collector.asked() {
            assert_eq!(headers["authorization"], "Bearer abc");
            assert_eq!(headers["x-team"], "vault");
        }
        let mut command = crate::agent::command("no-ack", &collector.url());
        command.env("OTEL_EXPORTER_OTLP_HEADERS", "authorization secret");
        let ended = Agent::start(&mut command)?.ended()?;
        assert_eq!(
            (ended.code, ended.said.lines().count()),
            (Some(1), 1),
            "{ended:?}"
        );
        assert!(
            ended.said.contains("OTEL_EXPORTER_OTLP_HEADERS"),
            "{ended:?}"
        );
        assert!(!ended.said.contains("secret"), "{ended:?}");
    }
    Ok(())
}

#[test]
fn tls_trusts_the_certificates_of_the_system_only() -> Result<()> {
    let expected = expected("no-ack")?;
    let identity = Identity::new()?;
    let directory = tempfile::tempdir()?;
    let authorities = directory.path().join("authorities.pem");
    fs::write(&authorities, &identity.certificate)?;
    let other = directory.path().join("others.pem");
    fs::write(&other, Identity::new()?.certificate)?;
    for speaks in BOTH {
        let collector = Fake::secure(speaks, &identity)?;
        let run = |authorities| {
            let mut command = command("no-ack", &collector.url());
            command.args(["--otlp-protocol", speaks.name()]);
            command.env("SSL_CERT_FILE", authorities);
            command.env_remove("SSL_CERT_DIR");
            Agent::start(&mut command)?.ended()
        };
        let ended = run(&other)?;
        assert_eq!(ended.code, Some(1), "{ended:?}");
        ensure!(ended.said.contains("certificate"), "{ended:?}");
        assert!(collector.asked().is_empty());
        let ended = run(&authorities)?;
        assert_eq!((ended.code, &*ended.said), (Some(0), ""));
        assert!(spans(collector.taken()) == expected, "{speaks:?}");
    }
    Ok(())
}
