package telemetry

import (
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// named is a gauge that is 1 for each thing in a list, and not there for others. What stays in the list is there at
// every moment, so that an alert on it goes on.
type named struct {
	gauge *prometheus.GaugeVec

	mu     sync.Mutex
	before []string
}

func newNamed(name, help, label string) *named {
	return &named{gauge: prometheus.NewGaugeVec(
		prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help}, []string{label})}
}

// replace makes it the things of that list.
func (n *named) replace(names []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, name := range n.before {
		if !slices.Contains(names, name) {
			n.gauge.DeleteLabelValues(name)
		}
	}
	for _, name := range names {
		n.gauge.WithLabelValues(name).Set(1)
	}
	n.before = slices.Clone(names)
}
