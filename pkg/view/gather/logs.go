package gather

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net/url"
	"path"
	"slices"
	"strconv"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
)

// What is read of a driver at most.
const (
	logLines    = 2000
	logBytes    = 4 << 20
	metricBytes = 4 << 20
	mostPods    = 40 // of all nodes those that are worst off
	atOnce      = 8
)

// part is a file of the bundle, or why there is none.
type part struct {
	name    string
	path    string
	query   url.Values
	limit   int64
	content []byte
	err     error
	// mayLack says that it is no loss if it is not there.
	mayLack bool
}

// drivers adds what the drivers' pods say: logs, and metrics where they have them.
func (g *gathering) drivers(ctx context.Context) error {
	pods := worstFirst(g.report.Drivers)
	if len(pods) > mostPods {
		g.missing("logs and metrics of %d of %d pods of drivers: only those of the %d that are worst off are here",
			len(pods)-mostPods, len(pods), mostPods)
		pods = pods[:mostPods]
	}
	var parts []*part
	for _, p := range inOrder(slices.Clone(pods)) {
		if !g.options.WithoutLogs {
			parts = append(parts, logsOf(p)...)
		}
		parts = append(parts, metricsOf(p)...)
	}
	// A part is read while others are, and written in its turn: memory has a few at a time.
	for chunk := range slices.Chunk(parts, atOnce) {
		var group errgroup.Group
		for _, p := range chunk {
			group.Go(func() error {
				p.content, p.err = g.read(ctx, p)
				return nil
			})
		}
		_ = group.Wait() // each part has its own error
		for _, p := range chunk {
			switch {
			case p.err != nil && !p.mayLack:
				g.missing("%s: %v", p.name, p.err)
			case p.err == nil && len(p.content) > 0:
				if err := g.bundle.add(p.name, []byte(g.masker.Text(string(p.content)))); err != nil {
					return err
				}
			}
			p.content = nil
		}
	}
	return nil
}

func (g *gathering) read(ctx context.Context, p *part) ([]byte, error) {
	from, err := g.source.Read(ctx, p.path, p.query)
	if err != nil {
		return nil, err
	}
	defer func() { _ = from.Close() }() // nothing is written
	var content bytes.Buffer
	if _, err := io.Copy(&content, io.LimitReader(from, p.limit)); err != nil {
		return nil, fmt.Errorf("read %s: %w", p.path, err)
	}
	return content.Bytes(), nil
}

func logsOf(p *corev1.Pod) (parts []*part) {
	restarts := map[string]int32{}
	for _, s := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
		restarts[s.Name] = s.RestartCount
	}
	for _, c := range slices.Concat(p.Spec.InitContainers, p.Spec.Containers) {
		query := url.Values{
			"container": {c.Name}, "tailLines": {strconv.Itoa(logLines)}, "limitBytes": {strconv.Itoa(logBytes)},
			"timestamps": {"true"},
		}
		log := part{name: path.Join(at(p), c.Name+".log"), path: podPath(p) + "/log", query: query, limit: logBytes}
		parts = append(parts, &log)
		if restarts[c.Name] > 0 {
			before := log
			before.name = path.Join(at(p), c.Name+".previous.log")
			before.query = maps.Clone(query)
			before.query.Set("previous", "true")
			parts = append(parts, &before)
		}
	}
	return parts
}

// metricsOf asks for metrics, through the API server, where a port is named as those of metrics are.
func metricsOf(p *corev1.Pod) (parts []*part) {
	for _, c := range p.Spec.Containers {
		for _, port := range c.Ports {
			if !slices.Contains([]string{"http", "metrics", "http-metrics", "monitoring"}, port.Name) {
				continue
			}
			target := fmt.Sprintf("%s:%d", p.Name, port.ContainerPort)
			parts = append(parts, &part{
				name:  path.Join(at(p), c.Name+".metrics.txt"),
				path:  "/api/v1/namespaces/" + p.Namespace + "/pods/" + target + "/proxy/metrics",
				limit: metricBytes, mayLack: port.Name == "http",
			})
		}
	}
	return parts
}

func at(p *corev1.Pod) string { return path.Join("drivers", p.Namespace, p.Name) }

func podPath(p *corev1.Pod) string { return "/api/v1/namespaces/" + p.Namespace + "/pods/" + p.Name }

// worstFirst sorts pods that are not ready, or have restarted, before those about which there is less to say.
func worstFirst(pods []*corev1.Pod) []*corev1.Pod {
	pods = slices.Clone(pods)
	slices.SortStableFunc(pods, func(a, b *corev1.Pod) int { return trouble(b) - trouble(a) })
	return pods
}

func trouble(p *corev1.Pod) int {
	n := 0
	for _, s := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
		n += int(s.RestartCount)
	}
	ready := slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
	if !ready {
		n += 1 << 20
	}
	return n
}
