// Command demo brings dragoman up on a kind cluster, from nothing, and shows a pod that got its device.
//
// It is what "make demo" and the end-to-end tests run, so that both use the cluster, the image and the chart in the
// same way as a user does: every step is a command that a person could type, and each prints how long it took.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

const usage = `usage: demo [flags] up|install|show|down

  up        cluster, driver image and chart
  install   the driver image and the chart alone, on the cluster that is there
  show      one example pod, and what it sees
  down      the cluster away, and all that it left on the machine

Run it from the top of the repository; "make demo" does.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return
		}
		fmt.Fprintln(os.Stderr, "demo:", err)
		if errors.As(err, new(*usageError)) {
			os.Exit(2)
		}
		os.Exit(1)
	}
}

type usageError struct{ what string }

func (e *usageError) Error() string { return e.what + "\n\n" + usage }

func run(ctx context.Context, args []string) error {
	d := demo{out: os.Stdout}
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	flags.Usage = func() { fmt.Fprint(flags.Output(), usage); flags.PrintDefaults() }
	flags.StringVar(&d.name, "name", "dragoman", "name of the kind cluster")
	flags.StringVar(&d.cache, "cache", os.Getenv("DRAGOMAN_CACHE"), "directory of what is built once")
	flags.StringVar(&d.kubernetes, "kubernetes", "", "Kubernetes version of the nodes; empty: the default of nodeimage")
	flags.StringVar(&d.config, "config", "", "kind configuration of the cluster; empty: the default of nodeimage")
	flags.StringVar(&d.profile, "profile", "example", "the made-up hardware of every node: a built-in profile")
	flags.Func("set", "`name=value` of the chart; may be repeated", d.chartArg("--set"))
	flags.Func("values", "`file` of values of the chart; may be repeated", d.chartArg("--values"))
	flags.StringVar(&d.nodeimage, "nodeimage", "bin/nodeimage", "the nodeimage program")
	flags.StringVar(&d.helm, "helm", "helm", "the helm program")
	flags.StringVar(&d.driver, "driver", "bin/dragoman", "the driver's binary that goes into the image")
	flags.StringVar(&d.busybox, "busybox", "bin/busybox", "the program that makes the image of the example pods")
	flags.StringVar(&d.backend, "backend", "mock", "kind of hardware: mock, or nvml below a made-up NVIDIA driver")
	flags.StringVar(&d.gpu.driver, "nvml-driver", "bin/nvml/dragoman", "the driver's binary for nvml")
	flags.StringVar(&d.gpu.library, "nvml-library", "bin/libnvidia-ml.so.1", "the mock of NVIDIA's library")
	flags.StringVar(&d.gpu.fakeDriver, "fakedriver", "bin/fakedriver", "the program that makes NVIDIA's driver up")
	flags.StringVar(&d.gpu.glibc, "glibc", "bin/glibc", "the program that makes the image with the C library")
	flags.StringVar(&d.gpu.model, "gpu-model", "h100", "model of the GPUs for nvml: a100, a30, h100, h200, b200 or l4")
	flags.BoolVar(&d.gpu.dynamicMIG, "dynamic-mig", false, "for nvml: offer parts of GPUs, and cut them on demand")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return &usageError{what: err.Error()}
	}
	if d.backend != "mock" && d.backend != "nvml" {
		return &usageError{what: fmt.Sprintf("--backend %q: must be mock or nvml", d.backend)}
	}
	if d.config != "" {
		if _, err := os.Stat(d.config); err != nil {
			return &usageError{what: fmt.Sprintf("--config: %v", err)}
		}
	}
	verbs := map[string]func(context.Context) error{"up": d.up, "install": d.install, "show": d.show, "down": d.down}
	verb, ok := verbs[flags.Arg(0)]
	if !ok || flags.NArg() != 1 {
		return &usageError{what: fmt.Sprintf("what is to be done: %q", flags.Args())}
	}
	return verb(ctx)
}
