// Command fakedriver lays out the root of an NVIDIA driver without NVIDIA: the mock NVML library, other libraries that
// are empty, nvidia-smi and the MPS control daemon (this program under other names), harmless device nodes, and what
// the kernel module says in /proc. See package fakegpu for what it plays and how to let it go wrong.
//
//	fakedriver --library bin/libnvidia-ml.so.1 /tmp/driver                  below a folder here
//	fakedriver --library … --container dragoman-worker /opt/fake-driver     in the machine of a kind node
//
// A tree that is there is brought up to date; what its GPUs remember is forgotten.
//
// It is longer than 500 lines because it is three programs in one file of an image: the tree, nvidia-smi, the daemon.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"example.com/dragoman/e2e/fakegpu"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	programs := map[string]func(context.Context, []string) error{
		smiName: smi, mpsName: mpsControl, mpsServerName: mpsServer,
	}
	program, ok := programs[filepath.Base(os.Args[0])]
	if !ok {
		program = lay
	}
	switch err := program(ctx, os.Args[1:]); {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintf(os.Stderr, "%s: %v\n", filepath.Base(os.Args[0]), err)
		os.Exit(1)
	}
}

func lay(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("fakedriver", flag.ContinueOnError)
	library := flags.String("library", "bin/libnvidia-ml.so.1", "the mock library (see mocknvml)")
	model := flags.String("model", "h100", "the model of the eight GPUs: a100, a30, h100, h200, b200 or l4")
	name := flags.String("node", "", "what UUIDs are made from; empty: the container's or the machine's name")
	container := flags.String("container", "", "lay it out in this container, a node of kind")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() != 1 || !filepath.IsAbs(flags.Arg(0)) {
		return errors.New("say where, with an absolute path: fakedriver [flags] DIR")
	}
	node := *name
	if node == "" {
		node = *container
	}
	if node == "" {
		var err error
		if node, err = os.Hostname(); err != nil {
			return fmt.Errorf("ask for the machine's name: %w", err)
		}
	}
	entries, err := tree(fakegpu.DGX(node, *model), *library)
	if err != nil {
		return err
	}
	if *container != "" {
		return layInContainer(ctx, *container, flags.Arg(0), entries)
	}
	return layHere(flags.Arg(0), entries)
}

// self is this program, which must run without a dynamic linker and below any root.
func self() ([]byte, error) {
	path, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	return os.ReadFile(path)
}

// here returns the driver to which the running program belongs.
func here() (fakegpu.Driver, error) {
	path, err := os.Executable()
	if err != nil { // a chroot without /proc
		path = os.Args[0]
	}
	return fakegpu.Find(path)
}
