package event

import (
	"context"
	"os"
	"sync"

	"github.com/hashicorp/eventlogger"
)

// FileSink appends entries to a file.
type FileSink struct {
	file     *os.File
	fileLock sync.RWMutex
}

// NewFileSink opens the file.
func NewFileSink(path string) (*FileSink, error) {
	file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o600)
	return &FileSink{file: file}, err
}

// Process appends the entry.
func (s *FileSink) Process(ctx context.Context, e *eventlogger.Event) (*eventlogger.Event, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.fileLock.Lock()
	defer s.fileLock.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	_, err := s.file.Write(e.Formatted)
	return nil, err
}
