//! The report's page in a real browser: it loads nothing, complains of nothing, fits a phone, and opens the hang whose
//! bar is clicked. `VAULT_TRACER_KEEP` names a directory for its pictures: the README's is one of them.

mod browser;

use std::{
    env, fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;
use test_support::{replays, traces};
use tracer::report::{self, aggregate::Aggregator, html};

use browser::{Browser, program};

/// Without a browser there is nothing to see, which is said where it is seen: not by `eprintln!`, which a test that passes
/// keeps to itself.
fn browser(test: &str) -> Result<Option<Browser>> {
    let Some(program) = program() else {
        let why = format!(
            "no Chromium here (Debian: apt-get install chromium; or name it in {})",
            browser::VARIABLE
        );
        writeln!(io::stderr(), "\nNOT RUN: {test}: {why}\n")?;
        return Ok(None);
    };
    Browser::start(&program).map(Some)
}

fn trace(case: &str) -> Result<String> {
    Ok(fs::read_to_string(
        replays::directory(case).join("expected.jsonl"),
    )?)
}

/// The page on these traces, in a file.
fn page(traces: &[(&str, &str)]) -> Result<(TempDir, PathBuf)> {
    let mut totals = Aggregator::default();
    for (name, trace) in traces {
        report::read(&mut totals, name, trace.as_bytes())?;
    }
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("report.html");
    fs::write(&path, html::page(&totals.finish()))?;
    Ok((directory, path))
}

fn records(trace: &str, kind: &str) -> Result<Vec<Value>> {
    let records = trace.lines().map(serde_json::from_str::<Value>);
    let mut records = records.collect::<Result<Vec<_>, _>>()?;
    records.retain(|record| record["type"] == kind);
    Ok(records)
}

fn keep(browser: &mut Browser, name: &str, width: u32, height: u32) -> Result<()> {
    match env::var_os("VAULT_TRACER_KEEP") {
        Some(directory) => browser.picture(width, height, &Path::new(&directory).join(name)),
        None => Ok(()),
    }
}

const CASES: [&str; 4] = [
    "convoy",
    "two-devices",
    "udp-dead-port",
    "http2-4-clients-2-devices",
];

#[test]
fn it_shows_every_hang_on_every_screen_and_asks_for_nothing() -> Result<()> {
    let Some(mut browser) = browser("it_shows_every_hang_on_every_screen_and_asks_for_nothing")?
    else {
        return Ok(());
    };
    for case in CASES {
        let trace = trace(case)?;
        let (_directory, page) = page(&[("trace.jsonl", &trace)])?;
        let hangs = records(&trace, "hang")?.len() as f64;
        for (width, dark) in [(360, false), (360, true), (1000, false), (1000, true)] {
            browser.screen(width, dark)?;
            browser.open(&page)?;
            let mut count = |selector: &str| {
                browser.number(&format!("document.querySelectorAll({selector:?}).length"))
            };
            assert_eq!(count("svg.lane .bar")?.to_bits(), hangs.to_bits(), "{case}");
            assert_eq!(count("details.hang")?.to_bits(), hangs.to_bits(), "{case}");
            assert_eq!(
                count("svg.lane")?.to_bits(),
                count(".device")?.to_bits(),
                "{case}"
            );
            fits(&mut browser, width)?;
            browser.evaluate(
                "for (const each of document.querySelectorAll('details')) each.open = true",
            )?;
            fits(&mut browser, width)?;
            assert_eq!(is_dark(&mut browser)?, dark, "{case}");
            assert_eq!(browser.complaints(&page)?, [""; 0], "{case}");
        }
    }
    Ok(())
}

/// Of more hangs than can be drawn: how many there were at a time, the longest, and how many those are.
#[test]
fn of_a_long_trace_it_draws_all_in_bins_and_the_longest_one_by_one() -> Result<()> {
    let test = "of_a_long_trace_it_draws_all_in_bins_and_the_longest_one_by_one";
    let Some(mut browser) = browser(test)? else {
        return Ok(());
    };
    let trace = io::read_to_string(traces::Trace::of(2000))?;
    let (_directory, page) = page(&[("trace.jsonl", &trace)])?;
    browser.screen(360, false)?;
    browser.open(&page)?;
    let count = |selector: &str| format!("document.querySelectorAll({selector:?}).length");
    for (selector, there) in [
        ("svg.lane", 3),
        ("svg.lane .bar", 200),
        ("details.hang", 200),
    ] {
        assert_eq!(browser.evaluate(&count(selector))?, there, "{selector}");
    }
    // Each lane's columns, to scale, reach neither over nor under it.
    let columns = "[...document.querySelectorAll('svg.lane')].map(lane => [...lane.querySelectorAll('.column')].filter(column => {
        const [inner, outer] = [column, lane].map(e => e.getBoundingClientRect());
        return inner.height > 0 && inner.top >= outer.top && inner.bottom <= outer.bottom }).length)";
    let columns = browser.evaluate(columns)?;
    for lane in columns.as_array().into_iter().flatten() {
        assert!(
            lane.as_u64().is_some_and(|columns| columns > 50),
            "{columns}"
        );
    }
    let words = browser.evaluate("document.querySelector('.timeline').innerText + document.querySelector('#hangs').innerText")?;
    for said in [
        "the 200 longest of 2,000 hangs",
        "200 are the longest of 2,000",
    ] {
        assert!(
            words.as_str().is_some_and(|words| words.contains(said)),
            "no {said}"
        );
    }
    fits(&mut browser, 360)?;
    assert_eq!(browser.complaints(&page)?, [""; 0]);
    Ok(())
}

/// Nothing sticks out to the right: the page does not move sideways.
fn fits(browser: &mut Browser, width: u32) -> Result<()> {
    let wide = browser.number("document.documentElement.scrollWidth")?;
    ensure!(wide <= f64::from(width), "{wide} pixels on {width}");
    Ok(())
}

/// Whether what is written is lighter than what it is written on.
fn is_dark(browser: &mut Browser) -> Result<bool> {
    let light = |what: &str| {
        format!(
            "getComputedStyle(document.documentElement).{what}.match(/\\d+/g).slice(0, 3).reduce((a, b) => a + +b, 0)"
        )
    };
    let [ink, paper] = ["color", "backgroundColor"].map(|what| browser.number(&light(what)));
    Ok(ink? > paper?)
}

#[test]
fn a_click_on_a_bar_opens_its_hang() -> Result<()> {
    let Some(mut browser) = browser("a_click_on_a_bar_opens_its_hang")? else {
        return Ok(());
    };
    let convoy = trace("convoy")?;
    let (_directory, page) = page(&[("trace.jsonl", &convoy)])?;
    browser.screen(1000, false)?;
    browser.open(&page)?;
    let open = "[...document.querySelectorAll('details.hang[open] > div')].map(e => e.id)";
    assert_eq!(browser.evaluate(open)?, json!([]));
    browser.click("svg.lane a[href='#h2'] .bar")?;
    assert_eq!(browser.evaluate(open)?, json!(["h2"]));
    // The third longest, with its own words, request and evidence, and in sight.
    let mut hangs = records(&convoy, "hang")?;
    hangs.sort_by_key(|hang| std::cmp::Reverse(hang["duration_ns"].as_u64()));
    let text = browser.evaluate("document.getElementById('h2').innerText")?;
    let text = text.as_str().unwrap_or_default();
    for words in [
        &hangs[2]["explanation"],
        &hangs[2]["request"]["id"],
        &hangs[2]["stalls"][0]["evidence"]["drop_reason"],
    ] {
        let words = words.as_str().expect("text");
        assert!(text.contains(words), "no {words} in {text}");
    }
    let in_sight = "new Promise(done => { const look = () => { const r = document.querySelector('details[open]').getBoundingClientRect();
        r.top > -2 && r.top < innerHeight ? done(true) : requestAnimationFrame(look) }; look() })";
    assert_eq!(browser.evaluate(in_sight)?, true);
    // Who queued leads to who was in the device.
    browser.click("#h2 table a")?;
    let opened = browser.evaluate(open)?;
    assert_eq!(opened.as_array().map(Vec::len), Some(2), "{opened}");
    // The filter leaves those that hold the word.
    let client = hangs[0]["request"]["client_port"].to_string();
    browser.evaluate(&format!(
        "filter.value = '{client}'; filter.dispatchEvent(new Event('input'))"
    ))?;
    let left = browser
        .number("[...document.querySelectorAll('details.hang')].filter(e => !e.hidden).length")?;
    assert_eq!(left.to_bits(), 1.0_f64.to_bits());
    assert_eq!(browser.complaints(&page)?, [""; 0]);
    pictures(&mut browser, &page)
}

fn pictures(browser: &mut Browser, page: &Path) -> Result<()> {
    for (name, width, height, dark) in [
        ("report.png", 1000, 1300, false),
        ("report-dark.png", 1000, 1700, true),
        ("report-phone.png", 360, 1700, false),
    ] {
        browser.screen(width, dark)?;
        browser.open(page)?;
        if width > 500 {
            browser.click("svg.lane a[href='#h0'] .bar")?;
        }
        keep(browser, name, width, height)?;
    }
    Ok(())
}

/// Links are enough: a bar leads into its hang, which the browser opens for it.
#[test]
fn without_its_script_hangs_open_by_themselves() -> Result<()> {
    let Some(mut browser) = browser("without_its_script_hangs_open_by_themselves")? else {
        return Ok(());
    };
    let (_directory, page) = page(&[("trace.jsonl", &trace("convoy")?)])?;
    browser.ask(
        "Emulation.setScriptExecutionDisabled",
        &json!({ "value": true }),
    )?;
    browser.screen(1000, false)?;
    browser.open(&page)?;
    let open = "document.querySelectorAll('details.hang[open]').length";
    browser.click("details.hang > summary")?;
    assert_eq!(browser.evaluate(open)?, 1);
    browser.click("svg.lane a[href='#h2'] .bar")?;
    assert_eq!(browser.evaluate(open)?, 2);
    assert_eq!(browser.complaints(&page)?, [""; 0]);
    Ok(())
}

#[test]
fn on_paper_it_is_light_and_the_worst_are_open() -> Result<()> {
    let Some(mut browser) = browser("on_paper_it_is_light_and_the_worst_are_open")? else {
        return Ok(());
    };
    let (directory, page) = page(&[("trace.jsonl", &trace("convoy")?)])?;
    browser.screen(1000, true)?;
    browser.open(&page)?;
    browser.evaluate("addEventListener('beforeprint', () => { window.printed = document.querySelectorAll('details.hang[open]').length })")?;
    let file = directory.path().join("report.pdf");
    browser.print(&file)?;
    assert!(fs::read(&file)?.starts_with(b"%PDF"));
    assert_eq!(browser.evaluate("window.printed")?, 3);
    assert_eq!(
        browser.evaluate("document.querySelectorAll('details.hang[open]').length")?,
        0
    );
    if let Some(keep) = env::var_os("VAULT_TRACER_KEEP") {
        fs::copy(&file, Path::new(&keep).join("report.pdf"))?;
    }
    let media = json!({ "media": "print", "features": [{ "name": "prefers-color-scheme", "value": "dark" }] });
    browser.ask("Emulation.setEmulatedMedia", &media)?;
    assert!(!is_dark(&mut browser)?);
    Ok(())
}

/// A path is what a client likes; in the page it does nothing.
#[test]
fn what_a_client_made_up_does_nothing() -> Result<()> {
    let Some(mut browser) = browser("what_a_client_made_up_does_nothing")? else {
        return Ok(());
    };
    let hostile = "</script><img src=x onerror='window.hit=1'><script>window.hit=2</script>\"><a href=\"javascript:window.hit=3\" onclick=\"window.hit=4\">";
    let quoted = serde_json::to_string(hostile)?;
    let mut trace = trace("convoy")?.replace("\"sys/mounts\"", &quoted);
    for field in [
        "127.0.0.1",
        "NETFILTER_DROP",
        "10.77.0.2:1515",
        "\"local_drop",
    ] {
        let begin = if field.starts_with('"') { "\"" } else { "" };
        trace = trace.replace(field, &format!("{begin}{}", quoted.trim_matches('"')));
    }
    let (_directory, page) = page(&[(hostile, &trace)])?;
    browser.screen(360, false)?;
    browser.open(&page)?;
    browser.click("svg.lane a .bar")?;
    browser
        .evaluate("for (const each of document.querySelectorAll('details')) each.open = true")?;
    assert_eq!(browser.evaluate("typeof window.hit")?, "undefined");
    assert_eq!(browser.evaluate("document.images.length")?, 0);
    assert_eq!(browser.evaluate("document.scripts.length")?, 1);
    assert_eq!(
        browser.evaluate("document.querySelector('#h0').innerText.includes('<img src=x')")?,
        true
    );
    assert_eq!(browser.complaints(&page)?, [""; 0]);
    fits(&mut browser, 360)?;
    // And were it an element, the page's own policy would not let it run.
    let inject = "new Promise(done => { addEventListener('securitypolicyviolation', () => done(typeof window.hit));
        document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.hit=5\">') })";
    assert_eq!(browser.evaluate(inject)?, "undefined");
    Ok(())
}
