// Package permitpool limits how many goroutines do something at once. It stands for the package of this path that Vault
// queues its sinks by since July 2026, and has the functions that are on the stack of a sink that queues.
package permitpool

import "context"

// Pool has a number of permits.
type Pool struct {
	permits chan struct{}
}

// New returns a pool of so many permits.
func New(permits int) *Pool {
	return &Pool{permits: make(chan struct{}, permits)}
}

// Acquire waits for a permit, or for the end of the context.
func (p *Pool) Acquire(ctx context.Context) error {
	select {
	case p.permits <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Release returns a permit.
func (p *Pool) Release() {
	<-p.permits
}
