//! The pages that show one hang in full, and the help.

use ratatui::{
    Frame,
    layout::Rect,
    text::Line,
    widgets::{Paragraph, Wrap},
};

use super::{
    keys::HELP,
    model::{Model, PastHang, ViewData},
    style::{Palette, dim},
    words::{duration, request},
};
use tracer_format::{
    describe::{NOT_OVER, wait_of},
    errno_name,
    text::{self, clean, explain, seconds},
};
use tracer_model::{Hang, Op, RequestInfo, Stall, Tcp};

pub(super) fn draw_hang(frame: &mut Frame<'_>, area: Rect, model: &Model, palette: Palette) {
    let lines = match model.chosen() {
        Some(past) => hang_lines(model.data(), &past, palette),
        None => vec![Line::raw("No hang is chosen.")],
    };
    draw_text(frame, area, lines, model.scroll);
}

pub(super) fn draw_help(frame: &mut Frame<'_>, area: Rect, model: &Model, palette: Palette) {
    let mut lines = vec![Line::styled("Keys", palette.heading())];
    let keys = HELP.iter().map(|(key, does)| format!("  {key:<10} {does}"));
    lines.extend(keys.map(Line::raw));
    lines.push(Line::default());
    lines.push(Line::styled("Devices", palette.heading()));
    let states = [
        ("ok", "takes what is written to it"),
        ("stalled", "blocks a request now"),
        (
            "failing",
            "blocked or failed requests, and has not worked since",
        ),
        (
            "filling",
            "acknowledges nothing; blocks when its send buffer is full",
        ),
        ("closed", "the server has closed its connection"),
        ("-", "nothing has been seen of it yet"),
    ];
    let states = states.map(|(state, means)| format!("  {state:<10} {means}"));
    lines.extend(states.map(Line::raw));
    draw_text(frame, area, lines, model.scroll);
}

fn draw_text(frame: &mut Frame<'_>, area: Rect, lines: Vec<Line<'static>>, scrolled: usize) {
    // Not beyond the text: each line takes at least one row.
    let most = lines.len().saturating_sub(1);
    let scrolled = u16::try_from(scrolled.min(most)).unwrap_or(u16::MAX);
    let text = Paragraph::new(lines).wrap(Wrap { trim: false });
    frame.render_widget(text.scroll((scrolled, 0)), area);
}

fn hang_lines(data: &ViewData, past: &PastHang, palette: Palette) -> Vec<Line<'static>> {
    let hang = &past.hang;
    let name = hang.device.to_string();
    let heading = format!(
        "Hang of {} by {}: {}",
        duration(hang.duration),
        clean(&name),
        hang.cause().name()
    );
    let when = |nanos, format| data.clock.time(nanos).strftime(format).to_string();
    let begin = when(hang.start, "%Y-%m-%d %H:%M:%S%.3fZ");
    let end = when(hang.end, "%H:%M:%S%.3fZ");
    let mut lines = vec![
        Line::styled(heading, palette.heading()),
        Line::raw(format!("{begin} to {end}")),
        Line::raw(clean(&explain::hang(hang)).into_owned()),
        Line::default(),
        Line::styled("Request", palette.heading()),
    ];
    lines.extend(request_lines(hang).into_iter().map(Line::raw));
    lines.push(Line::default());
    lines.push(Line::styled("Stalls", palette.heading()));
    for stall in &hang.stalls {
        let offset = seconds(stall.start.saturating_sub(hang.start));
        lines.push(Line::raw(stall_line(stall, offset)));
        let seen = evidence(stall);
        if !seen.is_empty() {
            let seen = format!("    {}", seen.join(", "));
            lines.push(Line::styled(seen, dim()));
        }
    }
    lines
}

/// Operation and path, id, and what else is known.
fn request_lines(hang: &Hang) -> Vec<String> {
    let info = &hang.request;
    let mut lines = vec![format!("  {}", request(info))];
    if let Some(id) = &info.id {
        lines.push(format!("  id {}", clean(id)));
    }
    let known = [
        info.client.map(|client| format!("client {client}")),
        info.http_version.map(|version| format!("HTTP/{version}")),
        info.status.map(|status| format!("status {status}")),
        Some(format!("took {}", request_duration(info))),
        info.tie.map(|tie| format!("tie: {}", tie.name())),
    ];
    let known: Vec<_> = known.into_iter().flatten().collect();
    lines.push(format!("  {}", known.join(", ")));
    lines
}

fn request_duration(request: &RequestInfo) -> String {
    let duration = duration(request.duration);
    if request.lower_bound {
        format!("at least {duration}")
    } else {
        duration
    }
}

/// `  +2.00 s  connect 2.00 s timeout  for the request entry  local_drop`
fn stall_line(stall: &Stall, offset: f64) -> String {
    let outcome = stall.outcome.map_or(NOT_OVER, |outcome| outcome.name());
    let about = if stall.uncertainty > 0 { "about " } else { "" };
    let inferred = if stall.inferred { " (inferred)" } else { "" };
    let behind = stall
        .blocked_by
        .as_ref()
        .map(|id| format!("  behind {}", clean(id)));
    format!(
        "  +{offset:.2} s  {} {about}{:.2} s {outcome}{inferred}  {} entry  {}{}",
        wait_of(stall.op),
        seconds(stall.duration),
        stall.phase.name(),
        stall.cause.name(),
        behind.unwrap_or_default()
    )
}

/// Numbers that are not 0, and what else was seen.
fn evidence(stall: &Stall) -> Vec<String> {
    let evidence = &stall.evidence;
    let mut seen = Vec::new();
    let counts = [
        (evidence.syn_retransmits, "SYN"),
        (evidence.retransmits, "segment"),
    ];
    for (count, what) in counts.iter().filter(|(count, _)| *count > 0) {
        seen.push(format!("{} sent again", text::count(*count, what)));
    }
    for (dropped, count) in &evidence.drops {
        let direction = if dropped.incoming { "in" } else { "out" };
        seen.push(format!(
            "{count} dropped on the way {direction} ({})",
            clean(&dropped.reason)
        ));
    }
    if evidence.reset {
        seen.push("RST".to_owned());
    }
    if let Some(errno) = stall.errno {
        seen.push(errno_name(errno));
    }
    if let Some(tcp) = evidence.end.as_ref().or(evidence.begin.as_ref()) {
        seen.extend(tcp_numbers(stall.op, tcp));
    }
    if let Some(frame) = evidence.frames.first() {
        seen.push(format!("in {}", clean(frame)));
    }
    seen
}

/// A dial has a timeout only: there is no data yet.
fn tcp_numbers(op: Op, tcp: &Tcp) -> Vec<String> {
    let rto = tcp.rto.map(|rto| format!("RTO {:.1} s", seconds(rto)));
    if op == Op::Connect {
        return rto.into_iter().collect();
    }
    let mut seen = Vec::new();
    if tcp.unacked() > 0 {
        seen.push(format!("{} bytes unacknowledged", tcp.unacked()));
    }
    if tcp.unsent() > 0 {
        seen.push(format!("{} unsent", tcp.unsent()));
    }
    if let (Some(queued), Some(limit)) = (tcp.queued, tcp.limit)
        && queued > 0
    {
        seen.push(format!("send buffer {queued} of {limit}"));
    }
    if let Some(window) = tcp.window {
        seen.push(format!("peer's window {window}"));
    }
    seen.extend(rto);
    seen
}
