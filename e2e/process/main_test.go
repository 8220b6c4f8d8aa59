// Package process tests the real driver binary as a plain process: against a real API server of its own, with
// directories of its own and a kubelet played by the test. What needs no scheduler, container or reboot is tested here,
// because here every call, crash and file is in the test's hand.
package process

import (
	"context"
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"example.com/dragoman/e2e/preflight"
)

const driverName = "process.example.com"

// What all tests share; set once by TestMain.
var (
	binary string
	shared *server

	update = flag.Bool("update", false, "rewrite the golden files")
)

func TestMain(m *testing.M) {
	flag.Parse()
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "process tests:", err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	// Most tests wait for something most of the time.
	if err := flag.Set("test.parallel", "8"); err != nil {
		return 0, err
	}
	values, err := preflight.Environment("DRAGOMAN_BIN")
	if err != nil {
		return 0, err
	}
	binary = values["DRAGOMAN_BIN"]
	if _, err := os.Stat(binary); err != nil {
		return 0, fmt.Errorf(`find the driver's binary ("make build" makes it): %w`, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute) // it may have to be built
	defer cancel()
	if shared, err = startServer(ctx, featureGates); err != nil {
		return 0, err
	}
	code = m.Run()
	return code, shared.stop()
}
