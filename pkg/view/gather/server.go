package gather

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// versions adds what the API server is, and which kinds of DRA it serves in which versions.
func (g *gathering) versions(ctx context.Context) error {
	var text strings.Builder
	fmt.Fprintf(&text, "gathered by  %s\nAPI server   %s\n", g.options.Program, g.report.Cluster.Version)
	var group metav1.APIGroup
	if err := g.readJSON(ctx, "/apis/resource.k8s.io", &group); err != nil {
		g.missing("versions of resource.k8s.io: %v", err)
	}
	for _, v := range group.Versions {
		var list metav1.APIResourceList
		if err := g.readJSON(ctx, "/apis/"+v.GroupVersion, &list); err != nil {
			g.missing("kinds of %s: %v", v.GroupVersion, err)
			continue
		}
		var names []string
		for _, r := range list.APIResources {
			names = append(names, r.Name)
		}
		slices.Sort(names)
		fmt.Fprintf(&text, "%s  %s\n", v.GroupVersion, strings.Join(names, " "))
	}
	return g.bundle.add("versions.txt", []byte(text.String()))
}

func (g *gathering) readJSON(ctx context.Context, path string, into any) error {
	content, err := g.read(ctx, &part{path: path, limit: 1 << 20})
	if err != nil {
		return err
	}
	if err := json.Unmarshal(content, into); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return nil
}

// gate is a line of the API server's metrics that tells of a feature gate.
var gate = regexp.MustCompile(`^kubernetes_feature_enabled\{name="([^"]*)",stage="([^"]*)"\} ([01])$`)

// gates adds the feature gates of the API server that DRA knows, as far as its metrics may be read. The other
// components have gates of their own, which nobody outside can ask.
func (g *gathering) gates(ctx context.Context) error {
	from, err := g.source.Read(ctx, "/metrics", nil)
	if err != nil {
		g.missing("feature gates of the API server: %v", err)
		return nil
	}
	defer func() { _ = from.Close() }() // nothing is written
	text, err := gatesOf(from)
	if err != nil {
		g.missing("feature gates of the API server: %v", err)
		return nil
	}
	return g.bundle.add("feature-gates.txt", text)
}

func gatesOf(metrics io.Reader) ([]byte, error) {
	var lines []string
	for reader := bufio.NewReader(metrics); ; {
		line, err := reader.ReadString('\n')
		if found := gate.FindStringSubmatch(strings.TrimSpace(line)); found != nil && ofDRA(found[1]) {
			stage := found[2]
			if stage == "" {
				stage = "GA"
			}
			lines = append(lines, fmt.Sprintf("%s=%t (%s)\n", found[1], found[3] == "1", stage))
		}
		if errors.Is(err, io.EOF) {
			slices.Sort(lines)
			return []byte(strings.Join(lines, "")), nil
		} else if err != nil {
			return nil, err
		}
	}
}

func ofDRA(gate string) bool {
	for _, part := range []string{
		"DRA", "DynamicResource", "ResourceHealthStatus", "KubeletPodResources", "NodeDeclaredFeatures",
	} {
		if strings.Contains(gate, part) {
			return true
		}
	}
	return false
}
