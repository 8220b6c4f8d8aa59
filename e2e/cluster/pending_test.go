package cluster

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"example.com/dragoman/pkg/view/why"
)

var update = flag.Bool("update", false, "write the screens of testdata/pending as they are now")

// pending is one reason why a pod or a claim has no devices, or what there is to know once it has: how it comes about
// in a real cluster, what "kubectl dra why" says of it, and the change that mends it.
type pending struct {
	// name is the screen, testdata/pending/<name>.txt, and the folder of what is applied, <name>.yaml. Both begin with
	// the reason, where there is one.
	name string
	// story is one sentence for people, the first line of the screen.
	story string
	// reason is one of those that "why" must give; empty where it gives none, as for a pod that runs.
	reason why.ReasonID
	// state is what "why" must say; Waiting, if empty.
	state why.State
	// stages are those at which devices must be lost, among others.
	stages []why.Stage
	// machines is which devices there are: testdata/pending/machines-<machines>.yaml of a made-up driver, "none", or
	// those of the real driver, which "showcase" installs. Empty is "two-gpus".
	machines string
	// about is what is asked about; "pod/train" if empty.
	about string
	// event is the reason of the event in which Kubernetes says what it can; empty: FailedScheduling, "none": there is
	// none.
	event string
	// on is the one of the tests' clusters that can come into this and shows it, as in "make features-<on>". Empty: the
	// one of "make e2e".
	on string
	// before is done before the objects are made, and then after them. What they change for longer than the row is
	// put right in a clean-up of t.
	before, then func(*testing.T, *user)
	// mend are the commands that a user would type after having read the screen, and mended what is true then: a
	// condition of the pod, as "kubectl wait" has it. Empty: PodScheduled.
	mend   []string
	mended string
}

// pendings are all of them, in the order of the table.
func pendings() []pending {
	return slices.Concat(pendingBeforeDevices(), pendingForDevices(), pendingAfterScheduler())
}

// thisCluster is what the Makefile calls the cluster in FEATURE_CLUSTERS; empty for that of "make e2e".
func thisCluster() string {
	const oldest = 34
	switch {
	case len(turnedOn) > 0:
		return fmt.Sprintf("1.%d-gates", minor)
	case minor == oldest:
		return ""
	}
	return fmt.Sprintf("1.%d", minor)
}

// TestPendingReasons brings pods and claims into each state in which they get no devices, and compares what "kubectl
// dra why" prints with the screen in testdata/pending; then it does what the screen advises, and sees that it helps.
// With -update it writes the screens; see CONTRIBUTING.md.
func TestPendingReasons(t *testing.T) {
	t.Cleanup(func() {
		if err := driverBack(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	for _, p := range pendings() {
		if p.on == thisCluster() {
			t.Run(p.name, p.run)
		}
	}
}

// TestEachScreenHasARow finds screens that nothing writes any more, and rows that say too little.
func TestEachScreenHasARow(t *testing.T) {
	rows := map[string]bool{}
	for _, p := range pendings() {
		if rows[p.name] || p.story == "" || len(p.namespace()) > 63 {
			t.Errorf("row %q is there twice, or says nothing, or has too long a name", p.name)
		}
		rows[p.name] = true
	}
	screens, err := filepath.Glob(screenFile("*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range screens {
		name := filepath.Base(file[:len(file)-len(".txt")])
		if !rows[name] {
			t.Errorf("%s is of no row", file)
		}
		delete(rows, name)
	}
	for name := range rows {
		t.Errorf("row %q has no screen", name)
	}
}

// namespace is the row's own: the name as Kubernetes writes names.
func (p pending) namespace() string {
	return strings.ToLower(regexp.MustCompile(`([a-z])([A-Z])`).ReplaceAllString(p.name, "$1-$2"))
}

// cannotBeShown are reasons that no row has, with why.
func cannotBeShown() map[string]string {
	return map[string]string{
		string(why.TakesTooLong):   "the scheduler would have to search for more than 10 seconds on a node",
		string(why.AllocatorError): "what the allocator refuses beside all that has a reason of its own, nobody knows yet",
		string(why.FeatureOff):     "the API server leaves out what needs a feature that is off",
		string(why.CannotTell):     "it is about the rights of who asks; TestDesk shows it",
	}
}

// TestEachReasonHasARow demands a row for each reason that "why" can give, and for each stage at which devices are
// lost.
func TestEachReasonHasARow(t *testing.T) {
	shown := map[string]bool{}
	for _, p := range pendings() {
		shown[string(p.reason)] = true
		for _, stage := range p.stages {
			shown[string(stage)] = true
		}
	}
	exceptions := cannotBeShown()
	for _, word := range append(constantsOf(t, "ReasonID"), constantsOf(t, "Stage")...) {
		if _, excepted := exceptions[word]; shown[word] == excepted {
			t.Errorf("%s: it has a row: %t; it is said why it cannot have one: %t", word, shown[word], excepted)
		}
	}
}

// constantsOf returns what the constants of a type in pkg/view/why are.
func constantsOf(t *testing.T, of string) (values []string) {
	t.Helper()
	files, err := filepath.Glob("../../pkg/view/why/*.go")
	if err != nil {
		t.Fatal(err)
	}
	declared := regexp.MustCompile(`(?m)^\s+\w+\s+` + of + `\s+= "(\w+)"`)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range declared.FindAllStringSubmatch(string(text), -1) {
			values = append(values, match[1])
		}
	}
	if len(values) < 8 {
		t.Fatalf("there are %d constants of type %s", len(values), of)
	}
	return values
}

func screenFile(name string) string { return filepath.Join("testdata", "pending", name+".txt") }

// run is the row: it comes into the state, shows the screen, and comes out of it.
func (p pending) run(t *testing.T) {
	u := begin(t, p.namespace())
	p.provide(t, u)
	if p.before != nil {
		p.before(t, u)
	}
	if file := p.name + ".yaml"; exists(filepath.Join("testdata", "pending", file)) {
		u.apply(t, file)
	}
	if p.then != nil {
		p.then(t, u)
	}
	p.recognised(t, u)
	screen := p.compare(t, u)
	if len(p.mend) > 0 {
		u.mend(t, p)
	}
	if *update {
		write(t, screenFile(p.name), screen)
	}
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// provide makes the machines.
func (p pending) provide(t *testing.T, u *user) {
	t.Helper()
	switch machines := p.machines; machines {
	case "showcase":
		if err := driverBack(t.Context()); err != nil {
			t.Fatal(err)
		}
		useShowcase(t)
	case "none":
		noDriver(t)
	default:
		noDriver(t)
		if machines == "" {
			machines = "two-gpus"
		}
		u.apply(t, "machines-"+machines+".yaml")
	}
}

// recognised waits until "why" gives the reason of the row.
func (p pending) recognised(t *testing.T, u *user) {
	t.Helper()
	until(t, "why says "+p.name, func(context.Context) error {
		found, err := u.asProgram(t, p)
		if err != nil {
			return err
		}
		if missing := p.missing(found); missing != "" {
			return fmt.Errorf("it does not say %s: %s", missing, asYAML(found))
		}
		return nil
	})
}

// missing is what an answer does not say and has to; empty if it says everything.
func (p pending) missing(a why.Answer) string {
	state := p.state
	if state == "" {
		state = why.Waiting
	}
	if a.State != state {
		return "state " + string(state)
	}
	if p.reason != "" && !slices.ContainsFunc(a.Reasons, func(r why.Reason) bool { return r.ID == p.reason }) {
		return "reason " + string(p.reason)
	}
	for _, stage := range p.stages {
		if !slices.ContainsFunc(a.Requests, func(r why.Request) bool {
			return slices.ContainsFunc(r.Lost, func(l why.Loss) bool { return l.Stage == stage })
		}) {
			return "that devices are lost at stage " + string(stage)
		}
	}
	return ""
}
