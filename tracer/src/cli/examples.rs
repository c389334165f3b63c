//! Examples at the end of `--help`.

pub(super) const ALL: &str = "\
Examples:
  vault-tracer doctor                                  whether this host can be traced
  vault-tracer trace                                   the server that runs here, until Ctrl-C
  vault-tracer trace -o trace.jsonl                    and keep the trace
  vault-tracer report trace.jsonl                      a summary, for a ticket
  vault-tracer stacks                                  what its requests wait for at this moment
  vault-tracer trace -h                                all options";
pub(super) const TRACE: &str = "\
Examples:
  vault-tracer trace                                    the server that runs here, until Ctrl-C or q
  vault-tracer trace --pid 4711 -o trace.jsonl          this one; keep the trace
  vault-tracer trace --live -o trace.jsonl              watch it, and keep the trace
  vault-tracer trace --process bao -q -o trace.jsonl    through its restarts, without a report
  vault-tracer trace --duration 10m --record events.gz  ten minutes; events for `replay` or a bug report
  vault-tracer trace --process vault -q --metrics 9464  as a service; metrics for Prometheus
  vault-tracer trace --otlp-endpoint http://tempo:4317  spans to a collector, over gRPC";
pub(super) const REPLAY: &str = "\
Examples:
  vault-tracer replay events                           the report of a recorded trace
  vault-tracer replay events --live                    the state at its end, and its hangs
  vault-tracer replay events -q -o trace.jsonl         its trace
  vault-tracer replay events -q -o trace.pftrace       its trace as a timeline, for ui.perfetto.dev
  vault-tracer replay events -q -o trace.otlp.json     its trace as OpenTelemetry spans
  vault-tracer replay events -q --otlp-endpoint http://localhost:4318   spans to a collector";
pub(super) const REPORT: &str = "\
Examples:
  vault-tracer report trace.jsonl                      for a ticket: which device, why, how bad
  vault-tracer report trace.jsonl --html report.html   a page with the timeline and each hang's evidence
  vault-tracer report node1.jsonl node2.jsonl.gz       several nodes together
  vault-tracer report trace.jsonl --format json | jq .devices   for scripts";
pub(super) const DOCTOR: &str = "\
Examples:
  vault-tracer doctor                                  one screen; attach it to bug reports
  vault-tracer doctor --format json | jq .obstacle     what is in the way, if anything is";
pub(super) const STACKS: &str = "\
Examples:
  vault-tracer stacks                                  which requests wait for which audit device, now
  vault-tracer stacks --all > stacks.txt               every goroutine, for a ticket; the server goes on
  vault-tracer stacks --format json | jq .requests     how many wait, for scripts";
pub(super) const COMPLETIONS: &str = "\
Examples:
  vault-tracer completions bash > /etc/bash_completion.d/vault-tracer
  vault-tracer completions zsh > /usr/local/share/zsh/site-functions/_vault-tracer
  vault-tracer completions fish > ~/.config/fish/completions/vault-tracer.fish";
pub(super) const MAN: &str = "\
Examples:
  vault-tracer man /usr/local/share/man/man1           then: man vault-tracer-trace";
