// Package eventlogger has the goroutine structure of hashicorp/eventlogger's graph.go: one goroutine
// an entry, and below it one for each node of a pipeline but the first.
package eventlogger

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Event is one audit entry on its way through a pipeline.
type Event struct {
	CreatedAt time.Time
	Payload   any
	Formatted []byte
}

// Node is one stage of a pipeline. A sink returns no event.
type Node interface {
	Process(ctx context.Context, e *Event) (*Event, error)
}

// Pipeline is the nodes of one audit device, in their order: a filter if it has one, a formatter, a sink.
type Pipeline []Node

// Status says what became of an entry.
type Status struct {
	// Complete is how many sinks have it.
	Complete int
	// Warnings are what sinks complained of.
	Warnings []error
}

// Broker hands entries to all pipelines.
type Broker struct {
	graph graph
}

// Register adds a pipeline. Not while entries are sent.
func (b *Broker) Register(p Pipeline) {
	b.graph.roots = append(b.graph.roots, link(p))
}

// Send returns when all sinks are done with the entry or ctx is, whichever comes first.
func (b *Broker) Send(ctx context.Context, payload any) (Status, error) {
	return b.graph.process(ctx, &Event{CreatedAt: time.Now(), Payload: payload})
}

type graph struct {
	roots []*linkedNode
}

type linkedNode struct {
	node Node
	next *linkedNode
}

func link(p Pipeline) *linkedNode {
	if len(p) == 0 {
		return nil
	}
	return &linkedNode{node: p[0], next: link(p[1:])}
}

// The goroutine started here makes no system call of its own, and lives until the last sink is done,
// which may be long after the request has gone on.
func (g *graph) process(ctx context.Context, e *Event) (Status, error) {
	statuses := make(chan Status)
	var running sync.WaitGroup
	go func() {
		for _, root := range g.roots {
			if ctx.Err() != nil {
				break
			}
			running.Add(1)
			g.doProcess(ctx, root, e, statuses, &running)
		}
		running.Wait()
		close(statuses)
	}()
	return collect(ctx, statuses)
}

func collect(ctx context.Context, statuses <-chan Status) (Status, error) {
	var all Status
	for {
		select {
		case <-ctx.Done():
			return all, all.err(ctx.Err())
		case one, more := <-statuses:
			if !more {
				return all, all.err(nil)
			}
			all.Complete += one.Complete
			all.Warnings = append(all.Warnings, one.Warnings...)
		}
	}
}

// One sink is enough.
func (s Status) err(reason error) error {
	if s.Complete > 0 {
		return nil
	}
	return errors.Join(append(s.Warnings, reason, errors.New("event not processed by enough sinks"))...)
}

func (g *graph) doProcess(ctx context.Context, node *linkedNode, e *Event, statuses chan<- Status, running *sync.WaitGroup) {
	defer running.Done()
	e, err := node.node.Process(ctx, e)
	switch {
	case err != nil:
		tell(ctx, statuses, Status{Warnings: []error{err}})
	case e == nil || node.next == nil:
		tell(ctx, statuses, Status{Complete: 1})
	default:
		running.Add(1)
		go g.doProcess(ctx, node.next, e, statuses, running)
	}
}

// Nobody listens any more once ctx is done.
func tell(ctx context.Context, statuses chan<- Status, s Status) {
	select {
	case <-ctx.Done():
	case statuses <- s:
	}
}
