package why

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/types"

	"example.com/dragoman/pkg/nearest"
	"example.com/dragoman/pkg/view/selector"
)

// literals are the strings of an expression.
var literals = regexp.MustCompile(`"[^"\\]*"|'[^'\\]*'`)

// fixes mends selectors that look for what no device has: a name that is nearly one, a value in other letters.
func (f *search) fixes() []change { return f.mends(true) }

// otherValues asks for values that are nearly those which no device has, but could be meant as they are.
func (f *search) otherValues() []change {
	changes := f.mends(false)
	for i := range changes {
		changes[i].kind = OtherValue
		changes[i].text += ", if that will do"
	}
	return changes
}

func (f *search) mends(typo bool) []change {
	var changes []change
	for _, j := range f.judges {
		for _, x := range j.expressions {
			if x.broken != nil || len(x.untrue)+len(x.errors) == 0 || !typo && x.from == "class" {
				continue
			}
			for _, fixed := range mended(x, typo) {
				changes = append(changes, f.fix(j.need, x, fixed))
			}
		}
	}
	return changes
}

// mend is a part of an expression that was meant otherwise.
type mend struct{ old, replacement, expression string }

func (f *search) fix(n *need, x *expression, m mend) change {
	where := f.in(n)
	if x.from == "class" {
		where = " in class " + n.class
	}
	text := fmt.Sprintf("write %s for %s in the selector%s", m.replacement, m.old, where)
	if m.old == guarding {
		text = fmt.Sprintf("put %s before the selector%s", strings.TrimSpace(m.replacement), where)
	}
	var only func(*corev1.Node) bool
	if x.from != "class" {
		only = f.withOthers(n)
	}
	return change{
		kind: FixSelector, text: text, where: only,
		apply: func(s situation) situation {
			set := func(selectors []resourceapi.DeviceSelector) []resourceapi.DeviceSelector {
				selectors = slices.Clone(selectors)
				selectors[x.index] = resourceapi.DeviceSelector{CEL: &resourceapi.CELDeviceSelector{Expression: m.expression}}
				return selectors
			}
			if x.from == "class" {
				return s.withClass(n.class, func(c *resourceapi.DeviceClass) { c.Spec.Selectors = set(c.Spec.Selectors) })
			}
			return n.edit(s, func(r *resourceapi.ExactDeviceRequest) { r.Selectors = set(r.Selectors) },
				func(r *resourceapi.DeviceSubRequest) { r.Selectors = set(r.Selectors) })
		},
	}
}

// mended returns what the expression could have been meant to be, or, if it is no typo, what else it could ask for.
func mended(x *expression, typo bool) []mend {
	var found []mend
	add := func(old, replacement string, replace func(string) string) {
		text := replace(x.text)
		if _, err := selector.Compile(text); err == nil && text != x.text {
			found = append(found, mend{old: old, replacement: replacement, expression: text})
		}
	}
	asked := x.asked[:min(len(x.asked), mostLooked)]
	for _, r := range x.compiled.References() {
		if r.Kind != selector.Attribute && r.Kind != selector.Capacity {
			continue
		}
		l, meant := lookFor(r, asked)
		switch {
		case l.On == 0 && !typo:
		case l.On == 0 && meant != nil:
			old, replacement := r.Name, meant.Name
			if old == replacement {
				old, replacement = fmt.Sprintf("%q", r.Domain), fmt.Sprintf("%q", meant.Domain)
			}
			add(old, replacement, func(text string) string { return renamed(text, r, *meant) })
		case typo && l.On > 0 && l.On < len(asked) && len(x.errors) > 0 && !r.Optional:
			guard := fmt.Sprintf("has(%s)", r)
			add(guarding, guard+" && ", func(text string) string { return guard + " && (" + text + ")" })
		case l.On > 0:
			for _, old := range literals.FindAllString(x.text, -1) {
				near := nearest.Of(strings.Trim(old, `"'`), unquoted(l.Values))
				if near != "" && !isValue(old, l.Values) && typo == strings.EqualFold(near, strings.Trim(old, `"'`)) {
					add(old, fmt.Sprintf("%q", near), func(text string) string {
						return strings.ReplaceAll(text, old, fmt.Sprintf("%q", near))
					})
				}
			}
		}
	}
	return found
}

// guarding stands for the beginning of an expression, in a mend that puts something before it.
const guarding = ""

func unquoted(values []string) []string {
	var texts []string
	for _, v := range values {
		texts = append(texts, strings.Trim(v, `"`))
	}
	return texts
}

func isValue(literal string, values []string) bool {
	return slices.Contains(unquoted(values), strings.Trim(literal, `"'`))
}

// renamed is the expression with another attribute or capacity.
func renamed(text string, old, meant selector.Reference) string {
	name := regexp.MustCompile(`\b` + regexp.QuoteMeta(old.Name) + `\b`)
	text = name.ReplaceAllString(text, meant.Name)
	if old.Domain == meant.Domain {
		return text
	}
	for _, quote := range []string{`"`, `'`} {
		text = strings.ReplaceAll(text, quote+old.Domain+quote, quote+meant.Domain+quote)
	}
	return text
}

// withClass is the situation with a class changed.
func (s situation) withClass(name string, edit func(*resourceapi.DeviceClass)) situation {
	changed := *s.cluster
	changed.Classes = slices.Clone(s.cluster.Classes)
	for i, c := range changed.Classes {
		if c.Name == name {
			changed.Classes[i] = c.DeepCopy()
			edit(changed.Classes[i])
		}
	}
	s.cluster = &changed
	return s
}

func (e *examination) answerKey() types.NamespacedName {
	return types.NamespacedName{Namespace: e.answer.Namespace, Name: e.answer.Name}
}
