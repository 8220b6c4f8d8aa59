package gather

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"example.com/dragoman/pkg/view"
	"example.com/dragoman/pkg/view/collect"
	"example.com/dragoman/pkg/view/mask"
)

// Source is the cluster that is asked, a collect.Collector.
type Source interface {
	Look(ctx context.Context, want collect.Want) (*view.Cluster, error)
	Events(ctx context.Context, about []collect.Ref) ([]*corev1.Event, []view.Unseen)
	Read(ctx context.Context, path string, parameters url.Values) (io.ReadCloser, error)
}

// Options say what goes into a bundle.
type Options struct {
	// Namespace is the one that claims, templates and users' pods are taken from; empty means all.
	Namespace string
	// Fallback is the namespace to look at where all of them may not be seen.
	Fallback string
	// Driver leaves out what has to do with other drivers only. Empty means all drivers.
	Driver string
	// Full keeps what may hold secrets, and what says much about an organisation: environment and arguments of pods,
	// annotations, all labels, addresses of nodes, values in configurations for drivers. What looks like a secret is
	// masked still.
	Full bool
	// WithoutLogs leaves out the logs of drivers.
	WithoutLogs bool
	// Program is the name and version of the program that gathers.
	Program string
	// Time is when it gathers.
	Time time.Time
	// Answers are asked for what this program itself would say of the cluster. Nil means nothing.
	Answers func(ctx context.Context, cluster *view.Cluster) []Answer
}

// Answer is what a command says: a file of the bundle.
type Answer struct {
	// Name is the file's below the folder "answers", for example "devices.txt".
	Name string
	Text string
}

// Report is what there is to say of a bundle that was written.
type Report struct {
	// Files are their names, in the order of the bundle.
	Files []string
	// Cluster is what was seen. Its Unseen says what was not.
	Cluster *view.Cluster
	// Drivers are the pods of drivers that were found.
	Drivers []*corev1.Pod
	// Missing are sentences about what could not be read beside that.
	Missing []string
}

// Write looks at a cluster and writes a bundle to a writer. What cannot be seen is left out, and said in the report and
// in the bundle; an error means that there is no bundle, and that what was written is of no use.
//
// Times of the files are that of the options, and their order follows from their names and the cluster, so that the
// same cluster gives the same bundle.
func Write(ctx context.Context, to io.Writer, source Source, options Options) (*Report, error) {
	report, err := write(ctx, to, source, options)
	if err != nil {
		return nil, fmt.Errorf("gather: %w", err)
	}
	return report, nil
}

func write(ctx context.Context, to io.Writer, source Source, options Options) (*Report, error) {
	seen, err := source.Look(ctx, collect.Want{
		Namespace: options.Namespace, Fallback: options.Fallback, WholePods: options.Full,
		Nodes: true, Claims: true, Templates: true, TaintRules: true, Namespaces: true, Pods: true, DriverPods: true,
	})
	if err != nil {
		return nil, err
	}
	g := &gathering{source: source, options: options, bundle: newBundle(to, options.Time), report: &Report{}}
	g.choose(seen)
	g.companions(ctx)
	g.daemons(ctx)
	g.about(ctx)
	g.trimmer = newTrimmer(g.report, options.Full)
	g.masker = newMasker(g.report.Cluster, options.Full)
	for _, step := range []func(context.Context) error{
		g.cluster, g.versions, g.gates, g.answers, g.admission, g.addDaemons, g.drivers, g.readme,
	} {
		if err := step(ctx); err != nil {
			return nil, err
		}
		if err := context.Cause(ctx); err != nil {
			return nil, err // what a step could not read then is not missing
		}
	}
	g.report.Files = g.bundle.names
	return g.report, g.bundle.close()
}

// gathering is one bundle in progress.
type gathering struct {
	source  Source
	options Options
	bundle  *bundle
	report  *Report
	trimmer trimmer
	masker  *mask.Masker
	// daemonSets are those of drivers.
	daemonSets []*appsv1.DaemonSet
}

// choose keeps of a cluster what the bundle is about.
func (g *gathering) choose(seen *view.Cluster) {
	g.report.Drivers = driverPods(seen, g.options.Driver)
	if g.options.Driver != "" {
		seen = ofDriver(seen, g.options.Driver)
	}
	cluster := *seen
	cluster.Pods = withoutPlugins(seen.Pods, g.report.Drivers)
	g.report.Cluster = &cluster
	for _, u := range seen.Unseen {
		if u.Resource == "pods" {
			g.missing("drivers in namespaces whose pods you may not list: who they are, and their logs, metrics and events")
		}
	}
}

func (g *gathering) answers(ctx context.Context) error {
	if g.options.Answers == nil {
		return nil
	}
	for _, a := range g.options.Answers(ctx, g.report.Cluster) {
		if err := g.bundle.add("answers/"+a.Name, []byte(g.masker.Text(a.Text))); err != nil {
			return err
		}
	}
	return nil
}

// missing notes that something could not be read.
func (g *gathering) missing(format string, args ...any) {
	g.report.Missing = append(g.report.Missing, fmt.Sprintf(format, args...))
}
