//go:build cgo

// Command gpucheck shows on a machine with NVIDIA GPUs, without a cluster, that the backend works there: what it sees,
// which CDI file a claim would get, resolved as a container runtime does it against the files that are there, whether
// events arrive, and what each call of NVML costs. It is what "make gpu-check" runs.
//
// It only reads: no setting of a GPU is changed. With --allow-changes, for GPUs of one's own that nobody uses, it also
// sets compute mode and time slice, as claims can ask for, and sees that they are restored.
//
// The report goes to the standard output, as Markdown. The exit code is 0 if all of it worked, 1 if not, and 3 if there
// is no NVIDIA GPU to check.
//
// It has a little more than 500 lines because it measures each call by its name.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"example.com/dragoman/pkg/device/nvml"
)

// bound is how long everything together may take.
const bound = 8 * time.Minute

// Exit codes.
const (
	exitOK    = 0
	exitWrong = 1
	exitUsage = 2
	exitNoGPU = 3
)

const driverName = "gpu.example.com"

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	flags := flag.NewFlagSet("gpucheck", flag.ContinueOnError)
	driverRoot := flags.String("driver-root", "/", "where the NVIDIA driver is installed")
	library := flags.String("library", "", "path of libnvidia-ml.so.1; empty: searched below --driver-root")
	hook := flags.String("cdi-hook", "", "path of nvidia-cdi-hook; empty: where the NVIDIA container toolkit installs it")
	changes := flags.Bool("allow-changes", false, "also change settings of idle GPUs, and see that they are restored")
	if err := flags.Parse(os.Args[1:]); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return exitOK
		}
		return exitUsage
	}
	dir, err := os.MkdirTemp("", "gpucheck-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "gpucheck: make a directory for records and CDI files:", err)
		return exitWrong
	}
	defer func() { _ = os.RemoveAll(dir) }()
	c := &check{out: os.Stdout, dir: dir, library: *library, options: nvml.Options{
		DriverName: driverName, NodeName: "here", Dir: dir + "/backend", DriverRoot: *driverRoot, LibraryPath: *library,
		CDIHookPath: *hook,
		Warn:        func(msg string, kv ...any) { fmt.Fprintln(os.Stderr, append([]any{"warning: " + msg}, kv...)...) },
	}}
	return c.all(ctx, *changes)
}
