package gather

import (
	"bytes"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"
)

// fileSize is about how large a file of objects becomes; what is more goes into a further one. A tar file wants to know
// the size of each file before its content, and memory is to have little of it at a time.
const fileSize = 4 << 20

// addObjects writes objects of one kind as documents of YAML files; there is no file if there are none. Each is trimmed
// when its turn comes, which makes a copy of it, and then masked.
func addObjects[T any, O interface {
	*T
	runtime.Object
}](g *gathering, name string, kind schema.GroupVersionKind, objects []O, trim func(O) O) error {
	var text bytes.Buffer
	files := 0
	flush := func() error {
		if text.Len() == 0 {
			return nil
		}
		file := name + ".yaml"
		if files++; files > 1 {
			file = fmt.Sprintf("%s-%d.yaml", name, files)
		}
		err := g.bundle.add(file, text.Bytes())
		text.Reset()
		return err
	}
	for _, o := range objects {
		o = trim(o)
		o.GetObjectKind().SetGroupVersionKind(kind)
		document, err := g.document(o)
		if err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
		text.WriteString("---\n")
		text.Write(document)
		if text.Len() >= fileSize {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}

// document returns an object as YAML in which nothing looks like a secret.
func (g *gathering) document(o runtime.Object) ([]byte, error) {
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return nil, err
	}
	return yaml.Marshal(g.masker.Object(fields))
}
