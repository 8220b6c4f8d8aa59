package why

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

const (
	// mostRemedies is how many remedies are said.
	mostRemedies = 3
	// mostTries is how often the allocator is asked about a node for the sake of remedies: a few seconds at most.
	mostTries = 30000
)

// change is one thing that could be other than it is.
type change struct {
	kind  RemedyKind
	text  string
	apply func(situation) situation
	// on adds the nodes that could take the pod then.
	on bool
}

// search looks for changes with which the allocator says yes.
type search struct {
	*examination
	base    situation
	judges  []*judge
	tries   int
	found   []Remedy
	already map[string]bool
}

// remedies adds the changes that would help, each alone; where none does, together with a mended selector.
func (e *examination) remedies(ctx context.Context, s situation, judges []*judge) error {
	if len(e.Slices) == 0 {
		return nil
	}
	f := &search{examination: e, base: s, judges: judges, already: make(map[string]bool)}
	fixes := f.fixes()
	for _, changes := range [][]change{
		fixes, f.fewer(), f.less(), f.waits(), f.tolerations(), f.otherNodes(), f.withoutConstraints(),
		f.otherValues(), f.withoutSelectors(), f.otherClasses(),
	} {
		if err := f.firstOf(ctx, changes); err != nil {
			return err
		}
	}
	if len(f.found) == 0 && len(fixes) > 0 {
		if err := f.afterFixes(ctx, fixes); err != nil {
			return err
		}
	}
	e.answer.Next = append(e.answer.Next, f.found[:min(len(f.found), mostRemedies)]...)
	return nil
}

// firstOf adds the first of the changes that helps.
func (f *search) firstOf(ctx context.Context, changes []change) error {
	for _, c := range changes {
		if len(f.found) >= mostRemedies {
			return nil
		}
		nodes, err := f.helps(ctx, c.apply(f.base))
		if err != nil {
			return err
		}
		if len(nodes) > 0 {
			if c.on {
				c.text = fmt.Sprintf(c.text, listed(nodes, mostDetails))
			}
			f.found = append(f.found, Remedy{Kind: c.kind, Text: c.text, Node: nodes[0], Tried: true})
			return nil
		}
	}
	return nil
}

// helps asks the allocator, and returns the nodes that can. A yes of one node is none where another makes the scheduler
// give up, so all are asked then.
func (f *search) helps(ctx context.Context, s situation) ([]string, error) {
	if f.tries += len(s.nodes); f.tries > mostTries {
		return nil, nil
	}
	v, err := s.ask(ctx, true)
	if err != nil || len(v.yes) == 0 {
		return nil, err
	}
	if v, err = s.ask(ctx, false); err != nil || !v.can() {
		return nil, err
	}
	return v.yes, nil
}

// afterFixes mends all selectors, and then looks for one more change.
func (f *search) afterFixes(ctx context.Context, fixes []change) error {
	mended := f.base
	var texts []string
	for _, c := range fixes {
		mended = c.apply(mended)
		texts = append(texts, c.text)
	}
	nodes, err := f.helps(ctx, mended)
	if err != nil {
		return err
	}
	first := strings.Join(texts, ", and ")
	if len(nodes) > 0 {
		f.found = append(f.found, Remedy{Kind: FixSelector, Text: first, Node: nodes[0], Tried: true})
		return nil
	}
	inner := examine(f.Cluster, f.answer.Kind, f.answerKey())
	inner.pod = f.pod
	again := &search{examination: inner, base: mended, tries: f.tries, already: f.already}
	again.judges = inner.funnels(ctx, mended.claims, mended.nodes)
	for _, changes := range [][]change{again.fewer(), again.less(), again.waits(), again.tolerations()} {
		if err := again.firstOf(ctx, changes); err != nil {
			return err
		}
	}
	for _, r := range again.found {
		r.Text = first + ", and " + r.Text
		f.found = append(f.found, r)
	}
	if len(f.found) == 0 {
		f.found = append(f.found, Remedy{Kind: FixSelector, Text: first + "; more has to change after that"})
	}
	return nil
}

// short says whether the request of a need cannot be met anywhere: only those are worth a change, unless all can.
func (f *search) worth(j *judge) bool {
	all := true
	for i := 0; i < len(f.judges); {
		last := lastChoice(f.judges, i)
		met := len(nodesOf(f.base.nodes, f.judges[i:last])) > 0
		if slices.Contains(f.judges[i:last], j) && !met {
			return true
		}
		all = all && met
		i = last
	}
	return all
}
