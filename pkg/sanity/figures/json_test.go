package figures_test

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"example.com/dragoman/pkg/sanity/figures"
)

func TestReadReturnsWhatWasWritten(t *testing.T) {
	var text bytes.Buffer
	if err := figures.JSON(&text, example()); err != nil {
		t.Fatal(err)
	}
	got, err := figures.Read(&text)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, example()) {
		t.Errorf("%+v\nexpected\n%+v", got, example())
	}
}

func TestReadRefusesWhatIsNoReport(t *testing.T) {
	for name, c := range map[string]struct{ text, expected string }{
		"nothing":        {"", "not one in JSON"},
		"a table":        {"prepared  0.4 ms", "not one in JSON"},
		"another object": {`{"suite":"check","cases":[]}`, `"drivers" is empty or missing`},
		"two reports":    {`{"drivers":[{"name":"a"}]} {"drivers":[{"name":"a"}]}`, "something after its end"},
		"a wrong type":   {`{"drivers":[{"name":"a"}],"measurements":[{"cpuMs":"1"}]}`, "cpuMs"},
		"a driver twice": {`{"drivers":[{"name":"a"},{"name":"a"}]}`, `drivers[1].name is "a"`},
		"an unknown driver": {
			`{"drivers":[{"name":"a"}],"measurements":[{"workload":"w","operation":"o","driver":"b"}]}`, `driver is "b"`,
		},
		"a nameless measurement": {
			`{"drivers":[{"name":"a"}],"measurements":[{"driver":"a","operation":"o"}]}`, `workload is ""`,
		},
		"a measurement of nothing": {
			`{"drivers":[{"name":"a"}],"measurements":[{"driver":"a","workload":"w"}]}`, `operation is ""`,
		},
		"no reason": {`{"drivers":[{"name":"a"}],"notRun":[{"workload":"w"}]}`, "notRun[0]"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := figures.Read(strings.NewReader(c.text))
			if err == nil || !strings.Contains(err.Error(), c.expected) {
				t.Errorf("the error is %v, expected one with %s", err, c.expected)
			}
		})
	}
}

// A report of a newer version says more, and what this one knows is still true.
func TestReadLeavesOutWhatItDoesNotKnow(t *testing.T) {
	r, err := figures.Read(strings.NewReader(`{"drivers":[{"name":"a","colour":"red"}],"weather":"fine"}`))
	if err != nil || len(r.Drivers) != 1 || r.Drivers[0].Name != "a" {
		t.Errorf("%+v, %v", r, err)
	}
}
