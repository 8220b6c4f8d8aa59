package main

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"example.com/dragoman/pkg/sanity/load"
)

func TestNumbersOfAFlagAreSortedAndSaidOnce(t *testing.T) {
	var c counts
	if err := c.Set("100, 0,10,100"); err != nil || !slices.Equal(c, []int{0, 10, 100}) {
		t.Errorf("%v: they are %v", err, c)
	}
	if c.String() != "0,10,100" {
		t.Errorf("they are written as %q", c.String())
	}
	for _, wrong := range []string{"", "1,,2", "-1", "ten"} {
		if err := c.Set(wrong); err == nil {
			t.Errorf("%q is taken for numbers", wrong)
		}
	}
}

func TestTheExitCodeOfLoadSaysWhoFailed(t *testing.T) {
	driver := &load.Failure{Workload: "storm", Driver: "d", Err: errors.New("no such claim"), Log: "its last words"}
	other := errors.New("the API server is away")
	cases := map[string]struct {
		err  error
		code int
		says string // of the error
	}{
		"nobody":              {nil, exitPassed, ""},
		"a driver":            {errors.Join(driver), exitFailed, ""},
		"two drivers":         {errors.Join(driver, driver), exitFailed, ""},
		"something else":      {errors.Join(other), exitPassed, "the API server is away"},
		"both":                {errors.Join(driver, other), exitPassed, "the API server is away"},
		"something all alone": {other, exitPassed, "the API server is away"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var stderr bytes.Buffer
			code, err := outcomeOf(c.err, &stderr)
			if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) || code != c.code {
				t.Errorf("it ends with %d and %v, expected %d and %q", code, err, c.code, c.says)
			}
			failed := errors.As(c.err, new(*load.Failure))
			if told := strings.Contains(stderr.String(), "its last words"); told != failed {
				t.Errorf("it says %q", stderr.String())
			}
		})
	}
}
