package main

import (
	"flag"
	"fmt"

	"github.com/hashicorp/vault/audit"
	"github.com/hashicorp/vault/internal/observability/event"
	"github.com/hashicorp/vault/vault"
)

// generation is how one range of Vault's versions audits. Each field is an option of the command line as well.
type generation struct {
	broker, context, queue, wrapper string
	ignoreContext                   bool
}

// generations are known by the version that a range begins with. README.md has the same table.
var generations = map[string]generation{
	"1.15.0": {"vault", "request", "rwmutex", "sink-wrapper", true},
	"1.15.3": {"vault", "response-5s", "rwmutex", "sink-wrapper", true},
	"1.16.3": {"vault", "5s-if-less", "rwmutex", "sink-wrapper", true},
	"1.17.0": {"audit", "5s-if-less", "rwmutex", "sink-metric-timer", true},
	"1.17.6": {"audit", "10s-detached", "rwmutex", "sink-metric-timer", false},
	"2.1.0":  {"audit", "10s-detached", "permit", "sink-metric-timer", false},
}

const usual = "1.17.6"

// choose sets those options of a generation that the command line does not have.
func choose(flags *flag.FlagSet, version string) error {
	g, known := generations[version]
	if !known {
		return fmt.Errorf("-generation %q is none of README.md's", version)
	}
	given := map[string]bool{}
	flags.Visit(func(f *flag.Flag) { given[f.Name] = true })
	for name, value := range map[string]string{
		"broker": g.broker, "context": g.context, "queue": g.queue, "wrapper": g.wrapper,
		"ignore-context": fmt.Sprint(g.ignoreContext),
	} {
		if !given[name] {
			if err := flags.Set(name, value); err != nil {
				return err
			}
		}
	}
	return nil
}

// define adds the options to the command line.
func (g *generation) define(flags *flag.FlagSet) {
	flags.StringVar(&g.broker, "broker", "", "`package` of the audit broker: vault, audit")
	flags.StringVar(&g.context, "context", "", "`rule` for the context of an entry: request, response-5s, 5s-if-less, 10s-detached, with any duration")
	flags.StringVar(&g.queue, "queue", "", "`primitive` that lets one entry at a time into a sink: mutex, rwmutex, permit")
	flags.StringVar(&g.wrapper, "wrapper", "", "`type` around a sink: sink-wrapper, sink-metric-timer")
	flags.BoolVar(&g.ignoreContext, "ignore-context", false, "a sink whose turn comes after the end of its context still tries to write")
}

func (g *generation) sinks() event.Options {
	return event.Options{Queue: event.Queue(g.queue), IgnoreContext: g.ignoreContext}
}

// newBroker returns a broker that has these devices.
func (g *generation) newBroker(order audit.Order, devices []audit.Device) (broker, error) {
	rule, err := audit.ParseContextRule(g.context)
	if err != nil {
		return nil, err
	}
	all := audit.NewDevices(rule, order, audit.Wrapper(g.wrapper), devices)
	switch g.broker {
	case "vault":
		return &vault.AuditBroker{Devices: all}, nil
	case "audit":
		return &audit.Broker{Devices: all}, nil
	}
	return nil, fmt.Errorf("-broker %q: neither vault nor audit", g.broker)
}
