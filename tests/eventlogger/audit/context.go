package audit

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// ContextRule says how long the broker lets an entry take, and whether the end of the request ends it.
type ContextRule struct {
	rule  string
	limit time.Duration
}

const (
	// Both entries have the context of the request.
	asRequest = "request"
	// The response's entry has a time of its own, which a client that leaves does not end.
	ownForResponse = "response"
	// The request's context, if more than the limit is left of it, else a time of its own.
	ownIfLess = "if-less"
	// Each entry has a time of its own.
	detached = "detached"
)

// ParseContextRule reads `request`, `response-5s`, `5s-if-less` or `10s-detached`, with any duration. A duration alone is
// detached.
func ParseContextRule(text string) (ContextRule, error) {
	rule, duration := detached, text
	if text == asRequest {
		return ContextRule{rule: asRequest}, nil
	}
	if after, found := strings.CutPrefix(text, ownForResponse+"-"); found {
		rule, duration = ownForResponse, after
	} else if before, after, found := strings.Cut(text, "-"); found {
		rule, duration = after, before
	}
	limit, err := time.ParseDuration(duration)
	if err == nil && rule != ownForResponse && rule != ownIfLess && rule != detached {
		err = fmt.Errorf("%q", rule)
	}
	if err != nil {
		return ContextRule{}, fmt.Errorf("no context rule: %w", err)
	}
	return ContextRule{rule: rule, limit: limit}, nil
}

// OfRequest is the context of the entry before the work.
func (r ContextRule) OfRequest(ctx context.Context) (context.Context, context.CancelFunc) {
	if r.rule == ownForResponse {
		return context.WithCancel(ctx)
	}
	return r.of(ctx)
}

// OfResponse is the context of the entry before the answer.
func (r ContextRule) OfResponse(ctx context.Context) (context.Context, context.CancelFunc) {
	return r.of(ctx)
}

func (r ContextRule) of(ctx context.Context) (context.Context, context.CancelFunc) {
	end, limited := ctx.Deadline()
	longer := !limited || time.Until(end) > r.limit
	if r.rule == asRequest || r.rule == ownIfLess && longer {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(context.WithoutCancel(ctx), r.limit)
}
