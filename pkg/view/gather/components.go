package gather

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// pageSize is how many objects are asked for at once, and pageBytes how large their page is at most.
const (
	pageSize  = 100
	pageBytes = 32 << 20
)

// listed asks for all objects of a kind that are to be kept, page by page.
func listed[T any](
	ctx context.Context, g *gathering, path string, query url.Values, keep func(*T) bool,
) (kept []*T, err error) {
	parameters := url.Values{"limit": {strconv.Itoa(pageSize)}}
	maps.Copy(parameters, query)
	for {
		var page struct {
			Metadata metav1.ListMeta `json:"metadata"`
			Items    []T             `json:"items"`
		}
		content, err := g.read(ctx, &part{path: path, query: parameters, limit: pageBytes})
		if err != nil {
			return nil, err
		}
		if err := json.Unmarshal(content, &page); err != nil {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
		for _, o := range page.Items {
			if keep(&o) {
				kept = append(kept, &o)
			}
		}
		if page.Metadata.Continue == "" {
			return kept, nil
		}
		parameters.Set("continue", page.Metadata.Continue)
	}
}

// companions adds to the drivers' pods those that were installed with them and register no plugin: controllers,
// webhooks.
func (g *gathering) companions(ctx context.Context) {
	const instance = "app.kubernetes.io/instance"
	asked := map[types.NamespacedName]bool{}
	known := map[types.UID]bool{}
	for _, p := range g.report.Drivers {
		known[p.UID] = true
	}
	for _, d := range slices.Clone(g.report.Drivers) {
		of := types.NamespacedName{Namespace: d.Namespace, Name: d.Labels[instance]}
		if of.Name == "" || asked[of] {
			continue
		}
		asked[of] = true
		query := url.Values{"labelSelector": {instance + "=" + of.Name}}
		pods, err := listed(ctx, g, "/api/v1/namespaces/"+d.Namespace+"/pods", query, func(p *corev1.Pod) bool {
			return !known[p.UID] && p.Status.Phase != corev1.PodSucceeded
		})
		if err != nil {
			g.missing("pods beside the driver's in namespace %s: %v", d.Namespace, err)
		}
		for _, p := range pods {
			known[p.UID] = true
			g.report.Drivers = append(g.report.Drivers, p)
			if !contains(g.report.Cluster.Pods, p) {
				g.report.Cluster.Pods = append(g.report.Cluster.Pods, p)
			}
		}
	}
	inOrder(g.report.Drivers)
	inOrder(g.report.Cluster.Pods)
}

// daemons looks at the DaemonSets of drivers: of pods that could not be made they alone tell.
func (g *gathering) daemons(ctx context.Context) {
	names := driverNames(g.report.Cluster, g.options.Driver)
	var err error
	g.daemonSets, err = listed(ctx, g, "/apis/apps/v1/daemonsets", nil, func(s *appsv1.DaemonSet) bool {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: s.Name}, Spec: s.Spec.Template.Spec}
		named, perhaps := isDriver(pod, names)
		return named || perhaps && g.options.Driver == ""
	})
	if err != nil {
		g.missing("DaemonSets of drivers: %v", err)
	}
}

// addDaemons adds them.
func (g *gathering) addDaemons(context.Context) error {
	return addObjects(g, "drivers/daemonsets", appsv1.SchemeGroupVersion.WithKind("DaemonSet"), g.daemonSets,
		g.trimmer.daemonSet)
}
