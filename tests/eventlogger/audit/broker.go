// Package audit hands the two entries of a request to all audit devices, as Vault's does.
package audit

import (
	"context"
	"sync"

	"github.com/hashicorp/eventlogger"
	"github.com/hashicorp/vault/internal/observability/event"
	"github.com/hashicorp/vault/sdk/logical"
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

// Devices are all audit devices, and how entries are handed to them.
type Devices struct {
	sync.RWMutex
	eventlogger.Broker
	Context ContextRule
}

// NewDevices returns these devices.
func NewDevices(rule ContextRule, order Order, wrapper Wrapper, devices []Device) *Devices {
	all := &Devices{Context: rule}
	for _, device := range devices {
		var p eventlogger.Pipeline
		if device.Filter {
			p = append(p, &entryFilter{})
		}
		sink := event.NewMetricsCounter(wrapper.around(device.Sink))
		all.Register(append(p, &entryFormatter{order: order, prefix: device.Prefix}, sink))
	}
	return all
}

// Broker is what Vault has since 1.17. Until 1.16 it is vault.AuditBroker.
type Broker struct {
	*Devices
}

// LogRequest writes the entry before the server works on the request.
func (b *Broker) LogRequest(ctx context.Context, in *logical.LogInput) error {
	b.RLock()
	defer b.RUnlock()
	limited, cancel := b.Context.OfRequest(ctx)
	defer cancel()
	_, err := b.Send(limited, RequestEntry(in))
	return err
}

// LogResponse writes the entry before the server answers.
func (b *Broker) LogResponse(ctx context.Context, in *logical.LogInput) error {
	b.RLock()
	defer b.RUnlock()
	limited, cancel := b.Context.OfResponse(ctx)
	defer cancel()
	_, err := b.Send(limited, ResponseEntry(in))
	return err
}
