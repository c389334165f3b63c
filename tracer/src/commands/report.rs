//! `vault-tracer report`: what traces say, for a ticket.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, BufRead, BufReader, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use flate2::bufread::MultiGzDecoder;
use serde::de::IgnoredAny;
use tracer_format::{Record, Time};

use super::{progress::Progress, write_answer};
use crate::{
    cli::{ReportArgs, ReportFormat},
    lines::{Line, LineReader},
    report::{self, LONGEST, aggregate::Aggregator, html, summary::Report, text},
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
    if page_takes_stdout {
        write_answer(io::stderr().lock(), answer.as_bytes())
    } else {
        write_answer(io::stdout().lock(), answer.as_bytes())
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
    for file in in_order(files)? {
        let (name, input) = open(file)?;
        let input = BufReader::with_capacity(BUFFER, progress.through(input));
        report::read(&mut totals, &name, decompressed(input, &name)?)?;
    }
    Ok(totals.finish())
}

/// Files of one trace, after rotation, in the order in which they were written; else as they are given.
fn in_order(files: &[PathBuf]) -> Result<Vec<&Path>> {
    let mut ordered: Vec<_> = files.iter().map(PathBuf::as_path).collect();
    for (number, file) in ordered.iter().enumerate() {
        let is_same = |other: &&Path| is_one_file(file, other);
        ensure!(
            !ordered[..number].iter().any(is_same),
            "{} is given twice: its hangs would be counted twice",
            file.display()
        );
    }
    if ordered.len() > 1 {
        let begins: HashMap<_, _> = ordered.iter().map(|file| (*file, begin(file))).collect();
        let is_later_part = |begin: &Option<Begin>| begin.is_some_and(|(_, part)| part > 1);
        if begins.values().any(is_later_part) {
            // Others keep their place among themselves.
            ordered.sort_by_key(|file| begins[file]);
        }
    }
    Ok(ordered)
}

/// When the first trace of a file began, and the number of the file.
type Begin = (Time, u32);

/// Only of a regular file: what is read of a pipe is gone.
fn begin(path: &Path) -> Option<Begin> {
    let is_file = fs::metadata(path).is_ok_and(|data| data.is_file());
    let input = BufReader::new(File::open(path).ok().filter(|_| is_file)?);
    let mut lines = LineReader::new(decompressed(input, "").ok()?, LONGEST);
    let Some(Line::Whole(line)) = lines.read().ok()? else {
        return None;
    };
    match Record::<String, IgnoredAny>::parse(line) {
        Ok(Some(Record::Session(session))) => Some((session.start, session.part.unwrap_or(1))),
        _ => None,
    }
}

fn is_one_file(one: &Path, other: &Path) -> bool {
    let (Ok(one), Ok(other)) = (fs::metadata(one), fs::metadata(other)) else {
        return false;
    };
    one.is_file() && (one.dev(), one.ino()) == (other.dev(), other.ino())
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
    ensure!(!page.is_dir(), "cannot write {name}: it is a directory");
    let given = files.iter().any(|file| is_one_file(file, page));
    ensure!(
        !given,
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
