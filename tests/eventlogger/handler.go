package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
)

// What Vault calls the methods.
var operations = map[string]logical.Operation{
	http.MethodGet:    logical.ReadOperation,
	http.MethodPut:    logical.UpdateOperation,
	http.MethodPost:   logical.UpdateOperation,
	http.MethodDelete: logical.DeleteOperation,
	"LIST":            logical.ListOperation,
}

// requestLimit is how long a request may take in Vault, unless it is configured (default_max_request_duration).
const requestLimit = 90 * time.Second

type broker interface {
	LogRequest(ctx context.Context, in *logical.LogInput) error
	LogResponse(ctx context.Context, in *logical.LogInput) error
}

// handler audits each request, works as long as `?sleep=` says, audits the answer, and answers.
type handler struct {
	broker                      broker
	requestBytes, responseBytes int
}

// ServeHTTP does it all in the goroutine it is called in, as Vault does.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/v1/sys/health" {
		return // as in Vault, nobody audits this
	}
	// Vault reads the body before it audits.
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return
	}
	in, err := h.input(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), requestLimit)
	defer cancel()
	if err := h.broker.LogRequest(ctx, in); err != nil {
		fail(w, err)
		return
	}
	if err := work(r); err != nil {
		fail(w, err)
		return
	}
	if err := h.broker.LogResponse(ctx, in); err != nil {
		fail(w, err)
		return
	}
	answer(w, in)
}

func (h *handler) input(r *http.Request) (*logical.LogInput, error) {
	host, port, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return nil, err
	}
	number, err := strconv.Atoi(port)
	return &logical.LogInput{
		Type: "request",
		Request: &logical.Request{
			ID:          newID(),
			Operation:   operations[r.Method],
			Path:        strings.TrimPrefix(r.URL.Path, "/v1/"),
			Data:        ofLength(h.requestBytes),
			Connection:  &logical.Connection{RemoteAddr: host, RemotePort: number},
			ClientToken: r.Header.Get("X-Vault-Token"),
		},
		Response: &logical.Response{Data: ofLength(h.responseBytes)},
	}, err
}

// ofLength is as if hashed: only its length matters.
func ofLength(bytes int) map[string]any {
	return map[string]any{"value": strings.Repeat("x", bytes)}
}

// work takes the time that a plugin would.
func work(r *http.Request) error {
	sleep := r.URL.Query().Get("sleep")
	if sleep == "" {
		return nil
	}
	duration, err := time.ParseDuration(sleep)
	time.Sleep(duration)
	return err
}

func answer(w http.ResponseWriter, in *logical.LogInput) {
	body, err := json.Marshal(map[string]any{
		"request_id":     in.Request.ID,
		"lease_id":       "",
		"renewable":      false,
		"lease_duration": 0,
		"data":           in.Response.Data,
	})
	if err != nil {
		fail(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	// A client that has gone needs no answer.
	_, _ = w.Write(append(body, '\n'))
}

// fail answers as Vault does when no device has the entry.
func fail(w http.ResponseWriter, err error) {
	log.Print(err)
	w.WriteHeader(http.StatusInternalServerError)
	_, _ = io.WriteString(w, `{"errors":["internal error"]}`+"\n")
}

func newID() string {
	var bytes [16]byte
	// Never fails on Linux.
	_, _ = rand.Read(bytes[:])
	bytes[6], bytes[8] = bytes[6]&0x0f|0x40, bytes[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", bytes[:4], bytes[4:6], bytes[6:8], bytes[8:10], bytes[10:])
}
