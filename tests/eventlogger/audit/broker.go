// Package audit hands the two entries of a request to all audit devices, as Vault's does.
package audit

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/eventlogger"
	"github.com/hashicorp/vault/internal/observability/event"
)

// Device is how one audit device is configured.
type Device struct {
	// Sink is where its entries go.
	Sink eventlogger.Node
	// Prefix is put before each entry.
	Prefix string
	// Filter says whether it has one, which lets everything pass.
	Filter bool
}

// Broker hands entries to all devices.
type Broker struct {
	sync.RWMutex
	broker  eventlogger.Broker
	timeout time.Duration
	order   Order
}

// NewBroker gives each entry so much time: 5 s in Vault 1.15, later 10 s.
func NewBroker(timeout time.Duration, order Order) *Broker {
	return &Broker{timeout: timeout, order: order}
}

// Register adds a device.
func (b *Broker) Register(d Device) {
	b.Lock()
	defer b.Unlock()
	var p eventlogger.Pipeline
	if d.Filter {
		p = append(p, &entryFilter{})
	}
	sink := event.NewMetricsCounter(&sinkMetricTimer{sink: d.Sink})
	b.broker.Register(append(p, &entryFormatter{order: b.order, prefix: d.Prefix}, sink))
}

// LogRequest writes the entry before the server works on the request.
func (b *Broker) LogRequest(_ context.Context, in *Input) error {
	b.RLock()
	defer b.RUnlock()
	return b.send(&entry{kind: "request", input: in})
}

// LogResponse writes the entry before the server answers.
func (b *Broker) LogResponse(_ context.Context, in *Input) error {
	b.RLock()
	defer b.RUnlock()
	return b.send(&entry{kind: "response", input: in})
}

// The client's context does not count here, so that an entry is written though its client has gone.
func (b *Broker) send(e *entry) error {
	detached, cancel := context.WithTimeout(context.Background(), b.timeout)
	defer cancel()
	_, err := b.broker.Send(detached, e)
	return err
}
