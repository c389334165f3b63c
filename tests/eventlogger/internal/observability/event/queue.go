package event

import (
	"context"
	"fmt"
	"sync"

	"github.com/hashicorp/go-secure-stdlib/permitpool"
)

// Queue is the primitive that lets one entry at a time into a sink.
type Queue string

const (
	// Mutex is a sync.Mutex.
	Mutex Queue = "mutex"
	// RWMutex is a sync.RWMutex, locked for writing: Vault from 1.15 to the middle of 2026.
	RWMutex Queue = "rwmutex"
	// Permit is a pool of one permit. The wait for it ends with the context of the entry: later Vaults.
	Permit Queue = "permit"
)

// Options are what Vault's generations have differently in their sinks.
type Options struct {
	Queue Queue
	// IgnoreContext: a sink that gets the lock after the end of the entry's context still tries to write it.
	IgnoreContext bool
}

// gate has either a lock or permits.
type gate struct {
	lock          sync.Locker
	permits       *permitpool.Pool
	ignoreContext bool
}

func newGate(options Options) (gate, error) {
	g := gate{ignoreContext: options.IgnoreContext}
	switch options.Queue {
	case Mutex:
		g.lock = &sync.Mutex{}
	case RWMutex:
		g.lock = &sync.RWMutex{}
	case Permit:
		g.permits = permitpool.New(1)
	default:
		return g, fmt.Errorf("no queue primitive %q: mutex, rwmutex, permit", options.Queue)
	}
	return g, nil
}

// leave lets the next entry in.
func (g *gate) leave() {
	if g.permits != nil {
		g.permits.Release()
		return
	}
	g.lock.Unlock()
}

// err is why an entry that was let in is not written.
func (g *gate) err(ctx context.Context) error {
	if g.ignoreContext {
		return nil
	}
	return ctx.Err()
}
