package why

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"example.com/dragoman/pkg/view/allocate"
)

const (
	// mostRemedies is how many remedies are said.
	mostRemedies = 3
	// mostTries is how often the allocator is asked about a node for the sake of remedies.
	mostTries = 30000
	// fewTries is how often it is asked however long that takes: a small cluster has the same answer on every machine.
	fewTries = 1000
	// searchTime is how long the search may take after these, so that a large cluster's answer takes about a second.
	searchTime = 700 * time.Millisecond
	// longestSearch is for devices that can be combined in so many ways that a single question takes long.
	longestSearch = 3 * time.Second
	// slowNode is how long one node may take then. What takes longer is no good advice: the scheduler would hardly
	// find it either.
	slowNode = time.Second
)

// change is one thing that could be other than it is.
type change struct {
	kind  RemedyKind
	text  string
	apply func(situation) situation
	// on adds the nodes that could take the pod then.
	on bool
	// where says on which nodes it can help at all; nil: on all.
	where func(*corev1.Node) bool
}

// search looks for changes with which the allocator says yes.
type search struct {
	*examination
	base situation
	// failing is the node on which the scheduler gives up; nil if it does not.
	failing *corev1.Node
	judges  []*judge
	tries   int
	begun   time.Time
	found   []Remedy
}

// remedies adds the changes that would help, each alone; where none does, together with a mended selector.
func (e *examination) remedies(ctx context.Context, s situation, v allocate.Verdict, judges []*judge) error {
	if len(e.Slices) == 0 {
		return nil
	}
	s.limit = slowNode
	f := &search{examination: e, base: s, judges: judges, begun: time.Now()}
	if v.Failed != nil {
		at := slices.IndexFunc(e.nodes, func(n *corev1.Node) bool { return n.Name == v.Failed.Node })
		f.failing = e.nodes[at]
	}
	limited, stop := context.WithTimeout(ctx, longestSearch)
	defer stop()
	err := f.all(limited)
	if ctx.Err() == nil && limited.Err() != nil {
		e.answer.SearchCut, err = true, nil
	}
	e.answer.Next = append(e.answer.Next, f.found[:min(len(f.found), mostRemedies)]...)
	return err
}

func (f *search) all(ctx context.Context) error {
	fixes := f.fixes()
	for _, changes := range []func() []change{
		func() []change { return fixes }, f.fewer, f.less, f.waits, f.tolerations, f.otherNodes, f.withoutConstraints,
		f.otherValues, f.withoutSelectors, f.otherClasses,
	} {
		if len(f.found) >= mostRemedies || f.cut() {
			return nil
		}
		if err := f.firstOf(ctx, changes()); err != nil {
			return err
		}
	}
	if len(f.found) == 0 && len(fixes) > 0 {
		return f.afterFixes(ctx, fixes)
	}
	return nil
}

// cut says whether the search has taken long enough.
func (f *search) cut() bool {
	if f.tries > mostTries || f.tries > fewTries && time.Since(f.begun) > searchTime {
		f.answer.SearchCut = true
	}
	return f.answer.SearchCut
}

// firstOf adds the first of the changes that helps.
func (f *search) firstOf(ctx context.Context, changes []change) error {
	for _, c := range changes {
		if f.cut() {
			return nil
		}
		nodes, err := f.helps(ctx, c)
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
func (f *search) helps(ctx context.Context, c change) ([]string, error) {
	s := c.apply(f.base)
	if f.failing != nil && slices.Contains(slices.Concat(s.nodes, s.beyond), f.failing) {
		there := s
		there.nodes, there.beyond = []*corev1.Node{f.failing}, nil
		if v, err := f.ask(ctx, there, true); err != nil || v.Failed != nil {
			return nil, err
		}
	}
	first := s
	first.beyond = nil
	if c.where != nil {
		first.nodes = slices.DeleteFunc(slices.Clone(s.nodes), func(n *corev1.Node) bool { return !c.where(n) })
	}
	if len(first.nodes) == 0 {
		return nil, nil
	}
	v, err := f.ask(ctx, first, true)
	if err != nil || len(v.Yes) == 0 {
		return nil, err
	}
	if v, err = f.ask(ctx, s, false); err != nil || !v.Can() {
		return nil, err
	}
	return namesOf(v.Yes), nil
}

func (f *search) ask(ctx context.Context, s situation, oneIsEnough bool) (allocate.Verdict, error) {
	f.tries += len(s.nodes) + len(s.beyond)
	return s.ask(ctx, oneIsEnough)
}

// withOthers says on which nodes a change of one request can help: on those that can meet each of the others alone.
func (f *search) withOthers(n *need) func(*corev1.Node) bool {
	var others [][]*judge
	for i := 0; i < len(f.judges); {
		last := lastChoice(f.judges, i)
		of := f.judges[i].need
		if isExtended(of.claim) {
			return nil // a node may have them without devices
		}
		if of.claim != n.claim || of.request != n.request {
			others = append(others, f.judges[i:last])
		}
		i = last
	}
	return func(node *corev1.Node) bool {
		return !slices.ContainsFunc(others, func(choices []*judge) bool {
			return !slices.ContainsFunc(choices, func(j *judge) bool { return j.enough[node.Name] })
		})
	}
}

// afterFixes mends all selectors, and then looks for one more change.
func (f *search) afterFixes(ctx context.Context, fixes []change) error {
	together := change{apply: func(s situation) situation {
		for _, c := range fixes {
			s = c.apply(s)
		}
		return s
	}}
	var texts []string
	for _, c := range fixes {
		texts = append(texts, c.text)
	}
	nodes, err := f.helps(ctx, together)
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
	mended := together.apply(f.base)
	again := &search{examination: inner, base: mended, tries: f.tries, begun: f.begun}
	again.judges = inner.funnels(ctx, mended.claims, mended.nodes)
	for _, changes := range []func() []change{again.fewer, again.less, again.waits, again.tolerations} {
		if len(again.found) >= mostRemedies || again.cut() {
			break
		}
		if err := again.firstOf(ctx, changes()); err != nil {
			return err
		}
	}
	f.answer.SearchCut = f.answer.SearchCut || inner.answer.SearchCut
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
