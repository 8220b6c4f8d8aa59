package history

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
)

// fakeDriver is a driver and the files it writes, with at most one thing that it does wrong.
type fakeDriver struct {
	wrong  string
	claims []Claim

	mutex    sync.Mutex
	random   *rand.Rand   // of when a call dies; nil for always half-way
	records  map[int]bool // what it remembers
	files    map[int]bool // CDI files, by claim
	deleted  map[int]bool
	faults   map[Fault]bool
	prepares map[int]int
}

func newFakeDriver(wrong string, claims []Claim) *fakeDriver {
	return &fakeDriver{
		wrong: wrong, claims: claims,
		records: map[int]bool{}, files: map[int]bool{}, deleted: map[int]bool{}, faults: map[Fault]bool{},
		prepares: map[int]int{},
	}
}

func (d *fakeDriver) Do(_ context.Context, o Operation) (Answer, error) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	switch o.Kind {
	case Prepare, Unprepare:
		return d.call(o), nil
	case Begin:
		d.faults[o.Fault] = true
	case End:
		delete(d.faults, o.Fault)
	case Delete:
		d.deleted[o.Claim] = true
	case Wipe:
		clear(d.files)
	case Reboot:
		clear(d.files)
		clear(d.records)
		if d.wrong == "does not survive a reboot" {
			return Answer{Dead: "no directory"}, nil
		}
	case Restart, Kill, Update:
		if d.wrong == "forgets on restart" {
			clear(d.records)
		}
	case AtOnce:
		return Answer{}, errors.New("not asked for")
	}
	return Answer{}, nil
}

// call carries a call out wholly, half or not at all if the driver dies in it.
func (d *fakeDriver) call(o Operation) Answer {
	half := o.Killed && (d.random == nil || d.random.IntN(2) == 0)
	if o.Killed && d.random != nil && d.random.IntN(2) == 0 {
		return Answer{Err: "connection closed"}
	}
	carryOut := d.prepare
	if o.Kind == Unprepare {
		carryOut = d.unprepare
	}
	answer := carryOut(o.Claim, half)
	if half {
		return Answer{Err: "connection closed"}
	}
	return answer
}

func (d *fakeDriver) prepare(claim int, half bool) Answer {
	d.prepares[claim]++
	if d.faults[NoAPIServer] || d.deleted[claim] {
		return Answer{Err: "get the claim"}
	}
	if d.faults[FullDisk] || d.faults[ReadOnly] {
		if d.wrong != "takes the device before the disk" {
			return Answer{Err: "write the record"}
		}
		d.files[claim] = true
		return Answer{Err: "write the record"}
	}
	for other := range d.records {
		both := slices.ContainsFunc(d.claims[other].Devices, func(device string) bool {
			return slices.Contains(d.claims[claim].Devices, device)
		})
		if both && other != claim && !d.claims[other].Shares && !d.claims[claim].Shares && d.wrong != "double owner" {
			return Answer{Err: "device is held by " + d.claims[other].Name}
		}
	}
	known := d.records[claim]
	d.records[claim] = true
	if half {
		return Answer{}
	}
	if !known || d.wrong != "does not look for the file" {
		d.files[claim] = true
	}
	if d.wrong == "answers ok without a file" && d.prepares[claim]%3 == 0 {
		delete(d.files, claim)
	}
	id := fmt.Sprintf("vendor/class=%d", claim)
	if d.wrong == "different IDs on repeat" && known {
		id += "-again"
	}
	return Answer{IDs: []string{id}}
}

func (d *fakeDriver) unprepare(claim int, half bool) Answer {
	if d.faults[ReadOnly] && d.records[claim] {
		return Answer{Err: "remove the record"}
	}
	if d.faults[NoAPIServer] && d.wrong == "needs the API server to unprepare" {
		return Answer{Err: "get the claim"}
	}
	if d.wrong != "leaves the CDI file" {
		delete(d.files, claim)
	}
	if !half {
		delete(d.records, claim)
	}
	return Answer{}
}

func (d *fakeDriver) Together(ctx context.Context, o Operation) ([]Answer, error) {
	var answers []Answer
	for _, call := range o.Calls {
		call.Killed = true
		answer, err := d.Do(ctx, call)
		answers = append(answers, answer)
		if err != nil {
			return nil, err
		}
	}
	return answers, nil
}

func (d *fakeDriver) Look(_ context.Context, ids []string) (View, error) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	view := View{Unresolved: map[string]string{}, Traces: map[int][]string{}}
	for claim := range d.files {
		view.Traces[claim] = append(view.Traces[claim], fmt.Sprintf("%d.json", claim))
		view.Strays = append(view.Strays, fmt.Sprintf("%d.json", claim))
	}
	if d.wrong == "leaves a temporary file" && len(d.prepares) > 0 {
		view.Strays = append(view.Strays, "spec.tmp")
	}
	for _, id := range ids {
		var claim int
		if _, err := fmt.Sscanf(id, "vendor/class=%d", &claim); err != nil || !d.files[claim] {
			view.Unresolved[id] = "no such file"
		}
	}
	return view, nil
}

func someClaims() []Claim {
	return []Claim{
		{Name: "A", Devices: []string{"gpu-0"}}, {Name: "B", Devices: []string{"gpu-0", "gpu-1"}},
		{Name: "C", Devices: []string{"gpu-1"}, Shares: true}, {Name: "D", Devices: []string{"gpu-2"}},
	}
}

func TestACorrectDriverIsNeverBlamed(t *testing.T) {
	for seed := range uint64(300) {
		plan := Generate(seed, 60, someClaims(), Everything())
		driver := newFakeDriver("", someClaims())
		driver.random = rand.New(rand.NewPCG(seed, 2))
		history, err := Play(t.Context(), driver, someClaims(), plan)
		if err != nil {
			t.Fatal(err)
		}
		if history.Violation != nil {
			t.Fatalf("seed %d:\n%v", seed, history)
		}
	}
}

func TestWhatADriverDoesWrongIsFoundAndShortened(t *testing.T) {
	tests := map[string]struct {
		invariant string
		steps     int // that it takes
	}{
		"forgets on restart":                {"I3", 3},
		"double owner":                      {"I3", 2},
		"different IDs on repeat":           {"I5", 2},
		"leaves the CDI file":               {"I4", 2},
		"answers ok without a file":         {"I1", 3},
		"does not look for the file":        {"I1", 3},
		"needs the API server to unprepare": {"progress", 2},
		"takes the device before the disk":  {"", 0}, // until it is unprepared, which cleans up: allowed
		"does not survive a reboot":         {"progress", 1},
		"leaves a temporary file":           {"I2", 2},
	}
	for wrong, tt := range tests {
		t.Run(wrong, func(t *testing.T) {
			replay := func(ctx context.Context, plan []Operation) (History, error) {
				return Play(ctx, newFakeDriver(wrong, someClaims()), someClaims(), plan)
			}
			// Which of two calls at once comes first is chance; a seed is to stand for one history here.
			choices := slices.DeleteFunc(Everything(), func(c Choice) bool { return c.Kind == AtOnce && !c.Killed })
			const seeds = 20
			found := 0
			for seed := range uint64(seeds) {
				failed, err := replay(t.Context(), Generate(seed, 200, someClaims(), choices))
				if err != nil {
					t.Fatal(err)
				}
				if failed.Violation == nil { // chance did not lead there
					continue
				}
				short, err := Shrink(t.Context(), failed, 1, replay)
				if err != nil {
					t.Fatal(err)
				}
				found++
				if !strings.Contains(tt.invariant, short.Violation.Invariant) || len(short.Events) > tt.steps {
					t.Errorf("seed %d is shortened to\n%v", seed, short)
				}
			}
			if tt.invariant == "" && found > 0 || tt.invariant != "" && found < seeds/2 {
				t.Errorf("found with %d of %d seeds", found, seeds)
			}
		})
	}
}

func TestASeedStandsForAPlan(t *testing.T) {
	one, again := Generate(7, 100, someClaims(), Everything()), Generate(7, 100, someClaims(), Everything())
	if fmt.Sprint(one) != fmt.Sprint(again) {
		t.Error("the same seed gives two plans")
	}
	if fmt.Sprint(one) == fmt.Sprint(Generate(8, 100, someClaims(), Everything())) {
		t.Error("another seed gives the same plan")
	}
	seen := map[Kind]bool{}
	for _, o := range Generate(9, 1000, someClaims(), Everything()) {
		seen[o.Kind] = true
	}
	if all := slices.Collect(maps.Keys(seen)); len(all) != 11 {
		t.Errorf("1000 operations are of %d kinds only: %v", len(all), all)
	}
}

func TestAtTheEndEverythingIsGivenBack(t *testing.T) {
	plan := []Operation{
		{Kind: Begin, Fault: NoAPIServer}, {Kind: End, Fault: NoAPIServer}, {Kind: Prepare, Claim: 1},
		{Kind: Begin, Fault: ReadOnly}, {Kind: AtOnce, Calls: []Operation{{Kind: Prepare, Claim: 3}}},
	}
	history, err := Play(t.Context(), newFakeDriver("leaves the CDI file", someClaims()), someClaims(), plan)
	if err != nil {
		t.Fatal(err)
	}
	const want = "  6. no longer: the disk is read-only\n  7. unprepare B -> ok\n  => I4: "
	if got := history.String(); !strings.Contains(got, want) {
		t.Errorf("it reads\n%s\nexpected\n%s", got, want)
	}
}

func TestAPlanStaysSensibleWhenOperationsAreTakenOut(t *testing.T) {
	begin, over := Operation{Kind: Begin, Fault: FullDisk}, Operation{Kind: End, Fault: FullDisk}
	kill, call := Operation{Kind: Kill}, Operation{Kind: Prepare}
	killed := Operation{Kind: Prepare, Killed: true}
	for name, tt := range map[string]struct{ plan, want []Operation }{
		"a fault that begins twice":    {[]Operation{begin, call, begin, over}, []Operation{begin, call, over}},
		"the end of no fault":          {[]Operation{over, call}, []Operation{call}},
		"a driver started in a fault":  {[]Operation{begin, kill, over, kill}, []Operation{begin, over, kill}},
		"a call that is killed in one": {[]Operation{begin, killed, over, killed}, []Operation{begin, call, over, killed}},
		"another fault that still lasts": {[]Operation{{Kind: Begin, Fault: ReadOnly}, begin, over, kill},
			[]Operation{{Kind: Begin, Fault: ReadOnly}, begin, over}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := tidy(tt.plan); fmt.Sprint(got) != fmt.Sprint(tt.want) {
				t.Errorf("it becomes %v, expected %v", got, tt.want)
			}
		})
	}
}

func TestNoDriverIsStartedDuringAFault(t *testing.T) {
	for seed := range uint64(50) {
		lasting := 0
		for _, o := range Generate(seed, 300, someClaims(), Everything()) {
			switch {
			case o.Kind == Begin:
				lasting++
			case o.Kind == End:
				lasting--
			case o.startsDriver() && lasting > 0:
				t.Fatalf("seed %d: %s during a fault", seed, o.describe(someClaims()))
			}
		}
		if lasting != 0 {
			t.Errorf("seed %d: %d faults do not end", seed, lasting)
		}
	}
}

func TestCallsAtOnceMayTakeEffectInAnyOrder(t *testing.T) {
	calls := func(kinds ...Kind) Operation {
		o := Operation{Kind: AtOnce}
		for _, kind := range kinds {
			o.Calls = append(o.Calls, Operation{Kind: kind})
		}
		return o
	}
	ok, id, other := Answer{}, Answer{IDs: []string{"v/c=0"}}, Answer{IDs: []string{"v/c=1"}}
	file := View{Traces: map[int][]string{0: {"0.json"}}}
	tests := map[string]struct {
		operation Operation
		answers   []Answer
		view      View
		invariant string
	}{
		"prepared last":                {calls(Prepare, Unprepare), []Answer{id, ok}, file, ""},
		"unprepared last":              {calls(Prepare, Unprepare), []Answer{id, ok}, View{}, ""},
		"two answers":                  {calls(Prepare, Prepare), []Answer{id, other}, file, "I5"},
		"two answers, unprepared once": {calls(Prepare, Unprepare, Prepare), []Answer{id, ok, other}, file, ""},
		"an error for no reason":       {calls(Prepare, Unprepare), []Answer{{Err: "busy"}, ok}, View{}, "progress"},
		"neither is there": {calls(Prepare, Prepare), []Answer{id, id},
			View{Unresolved: map[string]string{"v/c=0": "no file"}}, "I1"},
		"it stays, and does not resolve": {calls(Prepare, Unprepare), []Answer{id, ok},
			View{Traces: map[int][]string{0: {"0.tmp"}}, Unresolved: map[string]string{"v/c=0": "no file"}}, "I1 or I4"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			models, v := follow([]model{newModel(someClaims())}, tt.operation, tt.answers)
			if v == nil {
				_, v = explain(models, tt.view)
			}
			switch {
			case v == nil && tt.invariant != "":
				t.Errorf("nothing is wrong, expected %s", tt.invariant)
			case v != nil && (tt.invariant == "" || !strings.Contains(tt.invariant, v.Invariant)):
				t.Errorf("%v, expected %q", v, tt.invariant)
			}
		})
	}
}

func TestAHistoryCanBeFollowedByAPerson(t *testing.T) {
	plan := []Operation{
		{Kind: Prepare, Claim: 0},
		{Kind: AtOnce, Calls: []Operation{{Kind: Prepare, Claim: 2}, {Kind: Unprepare, Claim: 3}}},
		{Kind: Begin, Fault: FullDisk}, {Kind: Prepare, Claim: 3}, {Kind: End, Fault: FullDisk},
		{Kind: Kill}, {Kind: Prepare, Claim: 1},
	}
	history, err := Play(t.Context(), newFakeDriver("double owner", someClaims()), someClaims(), plan)
	if err != nil {
		t.Fatal(err)
	}
	const want = `A has gpu-0, alone
B has gpu-0, gpu-1, alone
C has gpu-1, shared, or with admin access
D has gpu-2, alone
  1. prepare A -> vendor/class=0
  2. at once: prepare C, unprepare D -> vendor/class=2; ok
  3. from here the disk is full
  4. prepare D -> error: write the record
  5. no longer: the disk is full
  6. kill -9 the driver and start it again
  7. prepare B -> vendor/class=1
  => I3: B is prepared with a device that A has, and neither shares it: gpu-0, gpu-1 and gpu-0
`
	if got := history.String(); got != want {
		t.Errorf("it reads\n%s\nexpected\n%s", got, want)
	}
}
