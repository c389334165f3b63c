// Command eventlogger is a server that audits its requests in goroutines as Vault 1.15 and later does,
// for tests of the tracer. It keeps no secrets, looks at no token, and answers whatever is asked.
package main

import (
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/hashicorp/vault/audit"
	"github.com/hashicorp/vault/internal/observability/event"
)

func main() {
	log.SetFlags(log.Ltime | log.Lmicroseconds)
	if err := run(os.Args[1:]); err != nil {
		log.Fatal(err)
	}
}

// The first argument is `server`, as Vault's is.
func run(arguments []string) error {
	if len(arguments) == 0 || arguments[0] != "server" {
		return fmt.Errorf("usage: eventlogger server [OPTIONS] DEVICE...")
	}
	flags := flag.NewFlagSet("eventlogger server", flag.ContinueOnError)
	listen := flags.String("listen", "127.0.0.1:8200", "`address` to listen at")
	certificate := flags.String("tls", "", "speak TLS and HTTP/2 over it; the certificate, made up now, is written to this `file`")
	order := flags.String("order", "early", "fields of an entry: early, sorted, time-first")
	version := flags.String("generation", usual, "first `version` of the Vaults that it audits like; the options of README.md's table change that")
	g := &generation{}
	g.define(flags)
	handler := &handler{}
	flags.IntVar(&handler.requestBytes, "request-bytes", 0, "`length` of request.data")
	flags.IntVar(&handler.responseBytes, "response-bytes", 0, "`length` of response.data")
	if err := flags.Parse(arguments[1:]); err != nil {
		return err
	}
	if err := choose(flags, *version); err != nil {
		return err
	}
	var devices []audit.Device
	for _, words := range flags.Args() {
		device, err := parseDevice(words, g.sinks())
		if err != nil {
			return fmt.Errorf("device %q: %w", words, err)
		}
		devices = append(devices, device)
	}
	var err error
	if handler.broker, err = g.newBroker(audit.Order(*order), devices); err != nil {
		return err
	}
	return serve(*listen, handler, *certificate)
}

// A device is `file,path=PATH` or `socket,address=ADDRESS,socket_type=tcp,write_timeout=2s`, and may have
// `prefix=TEXT` and `filter`.
func parseDevice(words string, sinks event.Options) (audit.Device, error) {
	kind, rest, _ := strings.Cut(words, ",")
	options := map[string]string{"socket_type": "tcp", "write_timeout": "2s"}
	for _, option := range strings.Split(rest, ",") {
		name, value, _ := strings.Cut(option, "=")
		options[name] = value
	}
	_, filter := options["filter"]
	device := audit.Device{Prefix: options["prefix"], Filter: filter}
	limit, err := time.ParseDuration(options["write_timeout"])
	if err != nil {
		return device, err
	}
	switch kind {
	case "file":
		device.Sink, err = event.NewFileSink(options["path"], sinks)
	case "socket":
		device.Sink, err = event.NewSocketSink(options["socket_type"], options["address"], limit, sinks)
	default:
		err = fmt.Errorf("neither file nor socket")
	}
	return device, err
}

func serve(address string, handler http.Handler, certificate string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: handler}
	if certificate == "" {
		return server.Serve(listener)
	}
	server.TLSConfig, err = certified(certificate)
	if err != nil {
		return err
	}
	return server.ServeTLS(listener, "", "")
}
