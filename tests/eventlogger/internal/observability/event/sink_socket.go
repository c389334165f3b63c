// Package event has sinks that behave as Vault's do (internal/observability/event of 1.15 and later).
package event

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/hashicorp/eventlogger"
)

// SocketSink writes entries to a socket. The tracer reads address and socketType, which Vault's own
// has under these names.
type SocketSink struct {
	requiredFormat string
	address        string
	socketType     string
	maxDuration    time.Duration
	gate           gate
	connection     net.Conn
}

// NewSocketSink connects at the first entry. Every dial and every write gets maxDuration.
func NewSocketSink(socketType, address string, maxDuration time.Duration, options Options) (*SocketSink, error) {
	gate, err := newGate(options)
	return &SocketSink{
		requiredFormat: "json",
		address:        address,
		socketType:     socketType,
		maxDuration:    maxDuration,
		gate:           gate,
	}, err
}

// Process writes the entry, and if that fails once more over a new connection.
func (s *SocketSink) Process(ctx context.Context, e *eventlogger.Event) (*eventlogger.Event, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if s.gate.permits == nil {
		s.gate.lock.Lock()
	} else if err := s.acquirePermit(ctx); err != nil {
		return nil, err
	}
	defer s.gate.leave()
	if err := s.gate.err(ctx); err != nil {
		return nil, err
	}
	err := s.write(ctx, e.Formatted)
	if err == nil {
		return nil, nil
	}
	if again := s.reconnect(ctx); again != nil {
		return nil, s.failed(errors.Join(err, again))
	}
	return nil, s.failed(s.write(ctx, e.Formatted))
}

// Not inlined: in Vault it is a frame of its own.
//
//go:noinline
func (s *SocketSink) acquirePermit(ctx context.Context) error {
	return s.gate.permits.Acquire(ctx)
}

func (s *SocketSink) failed(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("error writing to socket %q: %w", s.address, err)
}

// A dial ends with the request's context, if that comes first.
func (s *SocketSink) connect(ctx context.Context) error {
	if s.connection != nil {
		return nil
	}
	limited, cancel := context.WithTimeout(ctx, s.maxDuration)
	defer cancel()
	dialer := net.Dialer{}
	connection, err := dialer.DialContext(limited, s.socketType, s.address)
	if err != nil {
		return err
	}
	s.connection = connection
	return nil
}

func (s *SocketSink) disconnect() error {
	if s.connection == nil {
		return nil
	}
	if err := s.connection.Close(); err != nil {
		return err
	}
	s.connection = nil
	return nil
}

func (s *SocketSink) reconnect(ctx context.Context) error {
	if err := s.disconnect(); err != nil {
		return err
	}
	return s.connect(ctx)
}

// A write knows nothing of the context.
func (s *SocketSink) write(ctx context.Context, data []byte) error {
	if err := s.connect(ctx); err != nil {
		return err
	}
	if err := s.connection.SetWriteDeadline(time.Now().Add(s.maxDuration)); err != nil {
		return err
	}
	_, err := s.connection.Write(data)
	return err
}
