package main

import (
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

	"github.com/hashicorp/vault/audit"
)

// What Vault calls the methods.
var operations = map[string]string{
	http.MethodGet: "read", http.MethodPut: "update", http.MethodPost: "update", http.MethodDelete: "delete", "LIST": "list",
}

// handler audits each request, works as long as `?sleep=` says, audits the answer, and answers.
type handler struct {
	broker                      *audit.Broker
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
	if err := h.broker.LogRequest(r.Context(), in); err != nil {
		fail(w, err)
		return
	}
	if err := work(r); err != nil {
		fail(w, err)
		return
	}
	if err := h.broker.LogResponse(r.Context(), in); err != nil {
		fail(w, err)
		return
	}
	answer(w, in)
}

func (h *handler) input(r *http.Request) (*audit.Input, error) {
	host, port, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return nil, err
	}
	number, err := strconv.Atoi(port)
	return &audit.Input{
		ID:            newID(),
		Operation:     operations[r.Method],
		Path:          strings.TrimPrefix(r.URL.Path, "/v1/"),
		RemoteAddress: host,
		RemotePort:    number,
		RequestData:   strings.Repeat("x", h.requestBytes),
		ResponseData:  strings.Repeat("x", h.responseBytes),
	}, err
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

func answer(w http.ResponseWriter, in *audit.Input) {
	body, err := json.Marshal(map[string]any{
		"request_id":     in.ID,
		"lease_id":       "",
		"renewable":      false,
		"lease_duration": 0,
		"data":           map[string]string{"value": in.ResponseData},
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
