package audit

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/hashicorp/eventlogger"
)

// Wrapper is what stands between a sink and the counter of its entries: one frame more on the stack.
type Wrapper string

const (
	// AroundUntil116 is that of Vault up to 1.16, audit.(*SinkWrapper).
	AroundUntil116 Wrapper = "sink-wrapper"
	// AroundSince117 is that of later Vaults, audit.(*sinkMetricTimer).
	AroundSince117 Wrapper = "sink-metric-timer"
)

func (w Wrapper) around(sink eventlogger.Node) eventlogger.Node {
	if w == AroundUntil116 {
		return &SinkWrapper{sink: sink}
	}
	return &sinkMetricTimer{sink: sink}
}

// sinkMetricTimer measures how long a sink takes.
type sinkMetricTimer struct {
	sink    eventlogger.Node
	elapsed atomic.Int64
}

// Process has the sink process the entry.
func (s *sinkMetricTimer) Process(ctx context.Context, e *eventlogger.Event) (*eventlogger.Event, error) {
	defer func() { s.elapsed.Add(int64(time.Since(e.CreatedAt))) }()
	return s.sink.Process(ctx, e)
}

// SinkWrapper measures how long a sink takes.
type SinkWrapper struct {
	sink    eventlogger.Node
	elapsed atomic.Int64
}

// Process has the sink process the entry.
func (s *SinkWrapper) Process(ctx context.Context, e *eventlogger.Event) (*eventlogger.Event, error) {
	defer func() { s.elapsed.Add(int64(time.Since(e.CreatedAt))) }()
	return s.sink.Process(ctx, e)
}
