package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/hashicorp/eventlogger"
	"github.com/hashicorp/vault/sdk/logical"
)

// Order is in which order an entry has its fields.
type Order string

const (
	// Early has time, type and request.id in front: Vault up to 1.16.
	Early Order = "early"
	// Sorted has them by name, and so request.data before request.id.
	Sorted Order = "sorted"
	// TimeFirst is Sorted, but for the time: the newest Vault.
	TimeFirst Order = "time-first"
)

type entry struct {
	kind  string
	input *logical.LogInput
}

// RequestEntry is what is written before the work.
func RequestEntry(in *logical.LogInput) any {
	return &entry{kind: "request", input: in}
}

// ResponseEntry is what is written before the answer.
func ResponseEntry(in *logical.LogInput) any {
	return &entry{kind: "response", input: in}
}

// entryFormatter makes a line of an entry.
type entryFormatter struct {
	order  Order
	prefix string
}

// Process formats the entry.
func (f *entryFormatter) Process(ctx context.Context, e *eventlogger.Event) (*eventlogger.Event, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	payload, ok := e.Payload.(*entry)
	if !ok {
		return nil, fmt.Errorf("cannot format a %T", e.Payload)
	}
	var line bytes.Buffer
	line.WriteString(f.prefix)
	payload.fields(f.order).write(&line)
	line.WriteByte('\n')
	return &eventlogger.Event{CreatedAt: e.CreatedAt, Payload: payload, Formatted: line.Bytes()}, nil
}

func (e *entry) fields(order Order) object {
	now := field{"time", time.Now().UTC().Format(time.RFC3339Nano)}
	kind := field{"type", e.kind}
	auth, request, response := field{"auth", e.auth()}, field{"request", e.request(order)}, field{"response", e.response()}
	rest := object{auth, request}
	if e.kind == "response" {
		rest = append(rest, response)
	}
	switch order {
	case Early:
		return append(object{now, kind}, rest...)
	case TimeFirst:
		return append(append(object{now}, rest...), kind)
	default:
		return append(rest, now, kind)
	}
}

func (e *entry) auth() object {
	return object{
		{"accessor", "hmac-sha256:" + zeros},
		{"client_token", "hmac-sha256:" + zeros},
		{"display_name", "root"},
		{"policies", []string{"root"}},
		{"policy_results", object{{"allowed", true}}},
		{"token_policies", []string{"root"}},
		{"token_type", "service"},
	}
}

func (e *entry) request(order Order) object {
	in := e.input.Request
	token := object{
		{"client_id", zeros[:44]},
		{"client_token", "hmac-sha256:" + zeros},
		{"client_token_accessor", "hmac-sha256:" + zeros},
	}
	data := field{"data", in.Data}
	remote := object{{"remote_address", in.Connection.RemoteAddr}, {"remote_port", in.Connection.RemotePort}}
	mount := object{{"mount_class", "secret"}, {"mount_point", "sys/"}, {"mount_type", "system"}, {"namespace", object{{"id", "root"}}}}
	if order == Early {
		front := append(object{{"id", in.ID}}, append(token, field{"operation", in.Operation})...)
		return append(append(append(front, mount...), field{"path", in.Path}, data), remote...)
	}
	front := append(token, data, field{"headers", object{{"user-agent", []string{"lab"}}}}, field{"id", in.ID})
	return append(append(append(front, mount...), field{"operation", in.Operation}, field{"path", in.Path}), remote...)
}

func (e *entry) response() object {
	return object{
		{"data", e.input.Response.Data},
		{"mount_class", "secret"},
		{"mount_type", "system"},
	}
}

const zeros = "0000000000000000000000000000000000000000000000000000000000000000"

type field struct {
	name  string
	value any
}

// object keeps its fields in their order, as encoding/json does of structures only.
type object []field

func (o object) write(to *bytes.Buffer) {
	to.WriteByte('{')
	for i, f := range o {
		if i > 0 {
			to.WriteByte(',')
		}
		fmt.Fprintf(to, "%q:", f.name)
		if inner, ok := f.value.(object); ok {
			inner.write(to)
			continue
		}
		// Strings, numbers, booleans, and lists and maps of these: none of them can fail.
		value, _ := json.Marshal(f.value)
		to.Write(value)
	}
	to.WriteByte('}')
}
