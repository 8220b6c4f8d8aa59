package validate

import (
	"cmp"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"example.com/dragoman/pkg/view/manifest"
)

// twin is what a cluster can have only one of.
type twin struct{ group, kind, namespace, name string }

// twins are objects that were judged, to see whether one of the same name comes again.
type twins map[twin]Result

func newTwins() twins { return make(twins) }

// judge warns of an object that another one in the files is replaced by, or replaces. Objects that get their names when
// they are created are no twins.
func (t twins) judge(d manifest.Document, r Result, f *findings) {
	if m, ok := d.Object.(metav1.Object); !ok || m.GetName() == "" {
		return
	}
	key := twin{d.Kind.Group, d.Kind.Kind, cmp.Or(r.Namespace, metav1.NamespaceDefault), r.Name}
	if first, again := t[key]; again {
		f.warn(field.NewPath("metadata", "name"), "%s is in %s:%d, too: \"kubectl apply\" replaces that one by this, "+
			"\"kubectl create\" refuses this one", r, first.Source, first.Line)
		return
	}
	t[key] = r
}
