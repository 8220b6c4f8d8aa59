package cluster

import (
	"context"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

var (
	// gates are the feature gates that the API server knows, and whether they are on.
	gates map[string]bool
	// turnedOn are those that the cluster was made with, instead of their defaults.
	turnedOn []string
)

var gateMetric = regexp.MustCompile(`(?m)^kubernetes_feature_enabled\{name="(\w+)",stage="\w*"\} ([01])$`)

// findGates asks the API server for its gates, and the configuration of kind for those that are not the default.
func findGates(ctx context.Context, kindConfig string) error {
	metrics, err := client.Discovery().RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
	if err != nil {
		return fmt.Errorf("read the metrics of the API server: %w", err)
	}
	gates = map[string]bool{}
	for _, match := range gateMetric.FindAllSubmatch(metrics, -1) {
		gates[string(match[1])] = string(match[2]) == "1"
	}
	if len(gates) == 0 {
		return fmt.Errorf("the metrics of the API server name no feature gates: no line is like %s", gateMetric)
	}
	if kindConfig == "" {
		return nil
	}
	text, err := os.ReadFile(kindConfig)
	if err != nil {
		return fmt.Errorf("read the configuration of the cluster: %w", err)
	}
	var config struct {
		FeatureGates map[string]bool `json:"featureGates"`
	}
	if err := yaml.Unmarshal(text, &config); err != nil {
		return fmt.Errorf("read %s: %w", kindConfig, err)
	}
	turnedOn = slices.Sorted(maps.Keys(config.FeatureGates))
	for _, gate := range turnedOn {
		if !config.FeatureGates[gate] || !gates[gate] {
			return fmt.Errorf("%s sets the gate %s to %t, the API server says %t; a table of what works has no cell for that",
				kindConfig, gate, config.FeatureGates[gate], gates[gate])
		}
	}
	return nil
}

// gateOn says whether a feature gate of the API server is on. One that it does not know is off.
func gateOn(name string) bool { return gates[name] }

// expectOneWarning checks that the driver on each node says once, and only once, what the lack of a gate means.
func expectOneWarning(t *testing.T, gate string) {
	t.Helper()
	for _, n := range []node{controlPlane, worker} {
		n.expectOneWarning(t, gate)
	}
}

// expectOneWarning is the same for one node, for what only happened there.
func (n node) expectOneWarning(t *testing.T, gate string) {
	t.Helper()
	until(t, "the driver on "+string(n)+" warns once about "+gate, func(ctx context.Context) error {
		pod, err := driverOn(ctx, n)
		if err != nil {
			return err
		}
		warnings := warningsAbout(gate, (&scene{}).logOf(ctx, pod.Namespace, pod.Name, ""))
		if len(warnings) > 1 {
			t.Fatalf("the driver on %s warns %d times about %s:\n%s", n, len(warnings), gate, strings.Join(warnings, "\n"))
		}
		if len(warnings) == 0 {
			return fmt.Errorf("pod %s does not", pod.Name)
		}
		return nil
	})
}

// warningsAbout returns the lines of the driver's log that are warnings and hold the word.
func warningsAbout(word, log string) (warnings []string) {
	for line := range strings.Lines(log) {
		if strings.Contains(line, "Warning:") && strings.Contains(line, word) {
			warnings = append(warnings, strings.TrimSpace(line))
		}
	}
	return warnings
}
