package event

import (
	"context"
	"sync/atomic"

	"github.com/hashicorp/eventlogger"
)

// MetricsCounter stands around a sink, as in Vault, where it is one frame more on the stack.
type MetricsCounter struct {
	sink  eventlogger.Node
	count *atomic.Uint64
}

// NewMetricsCounter counts what this sink processes.
func NewMetricsCounter(sink eventlogger.Node) *MetricsCounter {
	return &MetricsCounter{sink: sink, count: &atomic.Uint64{}}
}

// Process has the sink process the entry. The receiver is a value, as Vault's is: its name on the stack has no `(*...)`.
func (m MetricsCounter) Process(ctx context.Context, e *eventlogger.Event) (*eventlogger.Event, error) {
	defer m.count.Add(1)
	return m.sink.Process(ctx, e)
}
