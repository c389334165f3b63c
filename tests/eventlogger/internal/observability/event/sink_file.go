package event

import (
	"bytes"
	"context"
	"os"

	"github.com/hashicorp/eventlogger"
)

// FileSink appends entries to a file.
type FileSink struct {
	file *os.File
	gate gate
}

// NewFileSink opens the file.
func NewFileSink(path string, options Options) (*FileSink, error) {
	gate, err := newGate(options)
	if err != nil {
		return nil, err
	}
	file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o600)
	return &FileSink{file: file, gate: gate}, err
}

// Process appends the entry.
func (s *FileSink) Process(ctx context.Context, e *eventlogger.Event) (*eventlogger.Event, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return nil, s.log(ctx, e.Formatted)
}

// Not inlined: in Vault it is a frame of its own.
//
//go:noinline
func (s *FileSink) acquirePermit(ctx context.Context) error {
	return s.gate.permits.Acquire(ctx)
}

func (s *FileSink) log(ctx context.Context, data []byte) error {
	if s.gate.permits == nil {
		s.gate.lock.Lock()
	} else if err := s.acquirePermit(ctx); err != nil {
		return err
	}
	defer s.gate.leave()
	if err := s.gate.err(ctx); err != nil {
		return err
	}
	_, err := bytes.NewReader(data).WriteTo(s.file)
	return err
}
