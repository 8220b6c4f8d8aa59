package fault

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"example.com/dragoman/pkg/sanity/footprint"
)

// usage is what a process has of the machine.
type usage struct {
	memory     int // resident, KiB
	threads    int
	openFiles  int
	goroutines int // 0 if that is not known
}

func (u usage) String() string {
	text := fmt.Sprintf("%.1f MiB, %d open files, %d threads", float64(u.memory)/1024, u.openFiles, u.threads)
	if u.goroutines > 0 {
		text += fmt.Sprintf(", %d goroutines", u.goroutines)
	}
	return text
}

// What may come to a process that goes on doing the same: a heap grows and shrinks by what the collector leaves, pools
// of connections and threads fill.
const (
	moreMemory     = 16 << 10 // KiB, besides a quarter
	moreThreads    = 12
	moreFiles      = 8
	moreGoroutines = 16
)

// grown says what has grown more than it does by chance.
func (u usage) grown(before usage) []string {
	var grown []string
	for _, is := range []struct {
		what              string
		was, now, allowed int
	}{
		{"KiB of memory", before.memory, u.memory, before.memory/4 + moreMemory},
		{"threads", before.threads, u.threads, moreThreads},
		{"open files", before.openFiles, u.openFiles, moreFiles},
		{"goroutines", before.goroutines, u.goroutines, moreGoroutines},
	} {
		if is.now > is.was+is.allowed {
			grown = append(grown, fmt.Sprintf("%d %s, and %d before (%d more are allowed)", is.now, is.what, is.was, is.allowed))
		}
	}
	return grown
}

// usageOf reads what a process has; metrics is an address in the form of Prometheus, or empty.
func usageOf(ctx context.Context, pid int, metrics string) (usage, error) {
	has, err := footprint.Of(pid)
	if err != nil {
		return usage{}, fmt.Errorf("look at the driver: %w", err)
	}
	u := usage{memory: int(has.RSS >> 10), threads: has.Threads, openFiles: has.OpenFiles}
	if metrics != "" {
		u.goroutines, err = goroutines(ctx, metrics)
	}
	return u, err
}

func goroutines(ctx context.Context, metrics string) (int, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, metrics, nil)
	if err != nil {
		return 0, fmt.Errorf("read the driver's metrics: %w", err)
	}
	request.Close = true // a connection that stays open would be counted
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, fmt.Errorf("read the driver's metrics: %w", err)
	}
	defer response.Body.Close() //nolint:errcheck // it is only read
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), "go_goroutines "); ok {
			return strconv.Atoi(value)
		}
	}
	return 0, fmt.Errorf("the driver's metrics at %s (%s) have no go_goroutines", metrics, response.Status)
}
