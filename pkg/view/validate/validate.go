package validate

import (
	"encoding/json"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"example.com/dragoman/pkg/view"
	"example.com/dragoman/pkg/view/manifest"
)

// Options says who would judge.
type Options struct {
	// Minor is the release 1.x of the API server. 0 is the newest that is known, with warnings about older ones.
	Minor int
	// Gates are feature gates that differ from the defaults of the release.
	Gates map[string]bool
}

// Oldest and Newest are the releases 1.x whose rules are known here.
const (
	Oldest = 34
	Newest = 37
)

// Result is what there is to say about one document.
type Result struct {
	// Source is the file, Line where the object begins in it, from 1.
	Source string `json:"source"`
	Line   int    `json:"line"`
	// APIVersion, Kind, Namespace and Name are as written; what is not written is empty.
	APIVersion string  `json:"apiVersion,omitempty"`
	Kind       string  `json:"kind,omitempty"`
	Namespace  string  `json:"namespace,omitempty"`
	Name       string  `json:"name,omitempty"`
	Verdict    Verdict `json:"verdict"`
	// HasNoDevices is true of skipped objects whose kind is known, and known to have nothing to do with devices.
	HasNoDevices bool `json:"hasNoDevices,omitempty"`
	// Problems are in the order of their lines, then of their paths.
	Problems []Problem `json:"problems,omitempty"`
}

// Verdict is what an object is.
type Verdict string

// What an object can be.
const (
	// Valid objects have no errors. They may have warnings.
	Valid Verdict = "valid"
	// Invalid ones have errors.
	Invalid Verdict = "invalid"
	// Skipped ones are of a kind of which nothing is known here, or that has nothing to do with devices.
	Skipped Verdict = "skipped"
)

// Severity says how bad a problem is.
type Severity string

// How bad a problem can be.
const (
	// Error is something that the API server or the driver refuses.
	Error Severity = "error"
	// Warning is something that is accepted and probably not what was meant, or that depends on the cluster.
	Warning Severity = "warning"
)

// Problem is one thing that is wrong with an object.
type Problem struct {
	Severity Severity `json:"severity"`
	// Line is where it is in the source, from 1.
	Line int `json:"line"`
	// Path is the field, as the API server writes it.
	Path string `json:"path,omitempty"`
	// Message is a sentence without the path.
	Message string `json:"message"`
	// Detail has more lines about the same: of a CEL expression, the place where it is wrong.
	Detail string `json:"detail,omitempty"`
}

// Documents judges objects, each for itself and together: what pods refer to is looked for among all of them. The
// results are in the order of the documents.
func Documents(documents []manifest.Document, o Options) []Result {
	j := newJudge(o)
	results := make([]Result, len(documents))
	objects := make([]runtime.Object, len(documents)) // in v1, nil if they cannot be judged
	for i, d := range documents {
		results[i] = resultOf(d)
		for _, p := range d.Problems {
			results[i].Problems = append(results[i].Problems,
				Problem{Severity: Error, Line: p.Line, Path: p.Path, Message: p.Message})
		}
		if d.Object != nil {
			object, err := view.Convert(d.Object)
			if err != nil {
				results[i].Problems = append(results[i].Problems,
					Problem{Severity: Error, Line: d.Line, Message: err.Error()})
				continue
			}
			objects[i] = object.DeepCopyObject()
		}
	}
	others := newNeighbours(objects)
	twins := newTwins()
	for i, d := range documents {
		var f findings
		known := len(d.Problems) > 0
		if objects[i] != nil {
			known = j.judge(objects[i], d.Kind, others, &f) || known
			if known {
				twins.judge(d, results[i], &f)
			}
		} else if own, isOurs := ownKind(d); isOurs {
			f, known = own, true
		}
		results[i].finish(d, f, known)
	}
	return results
}

func resultOf(d manifest.Document) Result {
	r := Result{Source: d.Source, Line: d.Line, Kind: d.Kind.Kind, Verdict: Skipped}
	r.APIVersion = d.Kind.GroupVersion().String()
	if d.Kind.Empty() {
		r.APIVersion = ""
	}
	if d.Object == nil {
		var o metav1.PartialObjectMetadata
		if json.Unmarshal(d.Raw, &o) == nil {
			r.Namespace, r.Name = o.Namespace, o.Name
		}
		return r
	}
	if m, err := meta.Accessor(d.Object); err == nil {
		r.Namespace, r.Name = m.GetNamespace(), m.GetName()
		if r.Name == "" && m.GetGenerateName() != "" {
			r.Name = m.GetGenerateName() + "*"
		}
	}
	return r
}

func (r *Result) finish(d manifest.Document, f findings, known bool) {
	for _, p := range f {
		p.Path = asWritten(p.Path, d.Kind)
		p.Line = d.LineOf(p.Path)
		r.Problems = append(r.Problems, p)
	}
	slices.SortStableFunc(r.Problems, func(a, b Problem) int { return a.Line - b.Line })
	if known {
		r.Verdict = Valid
	}
	r.HasNoDevices = !known && d.Object != nil
	if slices.ContainsFunc(r.Problems, func(p Problem) bool { return p.Severity == Error }) {
		r.Verdict = Invalid
	}
}

// judge is an API server of one release.
type judge struct {
	minor int
	// any says that no release was asked for.
	any   bool
	gates map[string]bool
}

func newJudge(o Options) judge {
	if o.Minor == 0 {
		return judge{minor: Newest, any: true, gates: o.Gates}
	}
	return judge{minor: o.Minor, gates: o.Gates}
}

// judge says whether the kind is one that it knows something of. The object is in v1, and its own.
func (j judge) judge(object runtime.Object, written schema.GroupVersionKind, all neighbours, f *findings) bool {
	if !j.judgeDevices(object, written, f) {
		if !judgePods(object, f) {
			return false
		}
	}
	all.judge(object, f)
	return true
}

// metadata judges what all objects have. It is filled in as the API server does it.
func metadata(m *metav1.ObjectMeta, namespaced bool) *metav1.ObjectMeta {
	if m.Name == "" && m.GenerateName != "" {
		const room = 58 // of 63, the rest is random
		m.Name = m.GenerateName[:min(len(m.GenerateName), room)] + "xxxxx"
	}
	switch {
	case !namespaced:
		m.Namespace = ""
	case m.Namespace == "":
		m.Namespace = metav1.NamespaceDefault
	}
	return m
}

// String says what a result is about: ResourceClaim "gpus", or the kind alone.
func (r Result) String() string {
	switch {
	case r.Kind == "":
		return "document"
	case r.Name == "":
		return r.Kind
	case r.Namespace == "":
		return fmt.Sprintf("%s %q", r.Kind, r.Name)
	}
	return fmt.Sprintf("%s %q", r.Kind, r.Namespace+"/"+r.Name)
}
