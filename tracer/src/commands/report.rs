//! `vault-tracer report`: what traces say, for a ticket.

use std::{
    fs::{self, File, Metadata},
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use flate2::bufread::MultiGzDecoder;

use super::progress::Progress;
use crate::{
    cli::{ReportArgs, ReportFormat},
    report::{self, aggregate::Aggregator, html, summary::Report, text},
    sink::line_file::LineFile,
    source::recording::GZIP,
};

/// Read at once: lines are long.
const BUFFER: usize = 1 << 18;

pub(super) fn run(args: &ReportArgs) -> Result<()> {
    if let Some(page) = &args.html {
        check_page(page, &args.files)?;
    }
    let report = read(&args.files)?;
    let answer = match args.format {
        ReportFormat::Text => text::text(&report),
        ReportFormat::Json => report::json(&report)?,
    };
    let page_takes_stdout = args.html.as_deref() == Some(Path::new("-"));
    if let Some(page) = &args.html {
        write_page(page, &report)?;
    }
    let written = if page_takes_stdout {
        io::stderr().lock().write_all(answer.as_bytes())
    } else {
        io::stdout().lock().write_all(answer.as_bytes())
    };
    match written {
        // A closed pipe is no failure.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write the report")
        }
        _ => Ok(()),
    }
}

fn read(files: &[PathBuf]) -> Result<Report> {
    let sizes = files
        .iter()
        .map(|file| fs::metadata(file).map(|data| data.len()));
    // Of a pipe nobody knows.
    let size = sizes.sum::<io::Result<u64>>().ok();
    let progress = Progress::over("reading", size);
    let mut totals = Aggregator::default();
    for file in files {
        let (name, input) = open(file)?;
        let input = BufReader::with_capacity(BUFFER, progress.through(input));
        report::read(&mut totals, &name, decompressed(input, &name)?)?;
    }
    Ok(totals.finish())
}

fn open(path: &Path) -> Result<(String, Box<dyn Read>)> {
    if path == Path::new("-") {
        return Ok(("standard input".to_owned(), Box::new(io::stdin().lock())));
    }
    let name = path.display().to_string();
    let file = File::open(path).with_context(|| {
        format!("cannot open {name}: give a file made with `vault-tracer trace --output FILE`")
    })?;
    let is_directory = file.metadata().is_ok_and(|data| data.is_dir());
    ensure!(
        !is_directory,
        "{name} is a directory: give the traces in it, {name}/*.jsonl"
    );
    Ok((name, Box::new(file)))
}

fn decompressed(mut input: impl BufRead + 'static, name: &str) -> Result<Box<dyn BufRead>> {
    let begin = input
        .fill_buf()
        .with_context(|| format!("cannot read {name}"))?;
    ensure!(
        !begin.is_empty(),
        "{name} is empty: no trace was written to it"
    );
    if !begin.starts_with(&GZIP) {
        return Ok(Box::new(input));
    }
    let input = MultiGzDecoder::new(input);
    Ok(Box::new(BufReader::with_capacity(BUFFER, input)))
}

/// Sees before all is read that the page can be written and is none of the traces.
fn check_page(page: &Path, files: &[PathBuf]) -> Result<()> {
    let name = page.display();
    if page == Path::new("-") {
        return Ok(());
    }
    let parent = page.parent().filter(|parent| *parent != Path::new(""));
    if let Some(parent) = parent.filter(|parent| !parent.is_dir()) {
        bail!(
            "cannot write {name}: there is no directory {}",
            parent.display()
        );
    }
    let Ok(own) = fs::metadata(page) else {
        return Ok(());
    };
    ensure!(!own.is_dir(), "cannot write {name}: it is a directory");
    let is_same = |other: Metadata| (other.dev(), other.ino()) == (own.dev(), own.ino());
    let given = files
        .iter()
        .any(|file| fs::metadata(file).is_ok_and(is_same));
    ensure!(
        !(own.is_file() && given),
        "{name} is one of the traces: give the page another name"
    );
    Ok(())
}

fn write_page(path: &Path, report: &Report) -> Result<()> {
    let mut file = LineFile::create(path)?;
    match file.write_whole(html::page(report).as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.with_context(|| format!("cannot write {}", file.name())),
    }
}
