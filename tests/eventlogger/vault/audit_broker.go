// Package vault has the audit broker where Vault up to 1.16 has it.
package vault

import (
	"context"

	"github.com/hashicorp/vault/audit"
	"github.com/hashicorp/vault/sdk/logical"
)

// AuditBroker is audit.Broker under its earlier name, with methods of its own: these are on the stack of a request.
type AuditBroker struct {
	*audit.Devices
}

// LogRequest writes the entry before the server works on the request.
func (a *AuditBroker) LogRequest(ctx context.Context, in *logical.LogInput) error {
	a.RLock()
	defer a.RUnlock()
	limited, cancel := a.Context.OfRequest(ctx)
	defer cancel()
	_, err := a.Send(limited, audit.RequestEntry(in))
	return err
}

// LogResponse writes the entry before the server answers.
func (a *AuditBroker) LogResponse(ctx context.Context, in *logical.LogInput) error {
	a.RLock()
	defer a.RUnlock()
	limited, cancel := a.Context.OfResponse(ctx)
	defer cancel()
	_, err := a.Send(limited, audit.ResponseEntry(in))
	return err
}
