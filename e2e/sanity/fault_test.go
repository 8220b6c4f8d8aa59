package sanity

import (
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// rows are the cases of "dra-sanity fault" by the row of the fault table that they belong to.
func rows() map[string][]string {
	return map[string][]string{
		"01": {"killed-while-preparing", "killed-while-unpreparing", "killed-at-named-moments"},
		"02": {"cdi-disk-full", "cdi-disk-full-at-start", "state-disk-full", "state-disk-full-at-start"},
		"03": {"cdi-disk-read-only", "state-disk-read-only"},
		"06": {"cdi-directory-removed"},
		"08": {
			"api-server-is-slow", "api-server-answers-429", "api-server-answers-500", "api-server-answers-503",
			"api-server-cuts-connections", "api-server-hangs", "api-server-is-down", "api-server-certificate-expired",
			"api-server-back-during-prepare", "api-server-loses-slices-while-down",
		},
		"11": {"repeats-grow-nothing"},
		"12": {"storm-of-duplicates", "storm-of-prepare-and-unprepare", "storm-of-claims"},
		"13": {"storm-for-one-device"},
		"19": {"paused", "older-instance-hangs", "older-instance-hangs-in-a-call"},
		"21": {"sockets-removed", "plugin-directories-removed"},
		"26": {"soak"},
	}
}

func TestDragomanWithstandsFaults(t *testing.T) {
	t.Parallel()
	seed := strconv.FormatUint(rand.Uint64(), 10)
	t.Logf("--seed %s", seed)
	results := report(t, 0, aDragoman(t).args("fault", "--seed", seed, "--repeats", "6", "--cycles", "400",
		"--restarts", "4", "--steps", "80")...)
	row := map[string]string{}
	for number, cases := range rows() {
		for _, name := range cases {
			row[name] = "Fault" + number + " "
		}
	}
	for _, r := range results {
		// Cases without a row are the random schedule, which meets many, and what the table does not ask for.
		t.Run(row[r.Name]+r.Name, func(t *testing.T) {
			expect(t, []result{r}, nil, nil)
			for _, note := range r.Notes {
				t.Log(note)
			}
		})
		delete(row, r.Name)
	}
	for name, number := range row {
		t.Errorf("%sis to be shown by %s, and there is no such case", number, name)
	}
}

// A driver that forgets is found by chance, and what is left of the schedule is what it takes to see it.
func TestARandomScheduleFindsABrokenDriverAndIsShortened(t *testing.T) {
	t.Parallel()
	results := report(t, 1, tiny("forgets-on-restart").args("fault", "--seed", "5", "--steps", "60", "--run",
		"^random-schedule$")...)
	text := strings.Join(results[0].Messages, "\n")
	steps := regexp.MustCompile(`(?m)^ +\d+\. .*$`).FindAllString(text, -1)
	if len(steps) == 0 || len(steps) > 4 || !regexp.MustCompile(`=> I[134]: `).MatchString(text) {
		t.Errorf("expected at most four steps that end in I1, I3 or I4:\n%s", text)
	}
	if !regexp.MustCompile(`kill -9|start it again|start another`).MatchString(strings.Join(steps, "\n")) {
		t.Errorf("expected that the driver is started again in one of them:\n%s", text)
	}
}
