// Command nodeimage makes kind clusters from nothing: it finds or starts a container engine, pulls kind's node image or
// builds it from Go modules and Debian packages, makes the cluster, and takes all of it away again.
//
// It has more than 500 lines because the recipes of its six commands stand here, step by step.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"example.com/dragoman/e2e/nodeimage/internal/cache"
	"example.com/dragoman/e2e/nodeimage/internal/dockerd"
	"example.com/dragoman/e2e/nodeimage/internal/steps"
	"example.com/dragoman/e2e/nodeimage/internal/versions"
)

const usage = `nodeimage makes kind clusters from nothing.

usage: nodeimage COMMAND [flags] [arguments]

  build      write the node image's archive into the cache (needs no container engine)
  up         engine, node image, cluster, pod network: returns when all nodes are Ready
  load       put docker-archive image files into all nodes of a cluster
  network    make a cluster's pod network again, for example after "docker restart" of a node
  down       take a cluster away, and with the last one everything else but the cache
  env        print what a shell needs to use a cluster: eval "$(nodeimage env)"

nodeimage COMMAND -h lists the flags of a command.
`

func main() {
	if filepath.Base(os.Args[0]) == dockerd.ShimName {
		say(os.Stderr, "%s: %v\n", dockerd.ShimName, dockerd.RunShim(os.Args[1:]))
		os.Exit(1)
	}
	unix.Umask(0o022) // the modes of what is made here end up in images
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// options are the flags of all commands; each command takes those that it knows.
type options struct {
	cache, name, kubernetes, config, nodeImage string
	args                                       []string
}

// command is one line of the table below.
type command struct {
	flags string // which flags it takes: n(ame), k(ubernetes), c(onfig and node image)
	locks int
	do    func(app, context.Context, options) error
}

// How a command shares engine and clusters with other runs.
const (
	nothing = iota // needs neither
	shared         // uses them: beside others of this kind
	alone          // changes them
)

func commands() map[string]command {
	return map[string]command{
		"build":   {"k", nothing, app.build},
		"up":      {"nkc", alone, app.up},
		"load":    {"n", shared, app.load},
		"network": {"n", alone, app.network},
		"down":    {"n", alone, app.down},
		"env":     {"n", nothing, app.env},
	}
}

// run does one command and returns the exit code: 1 for what went wrong, 2 for what was asked wrongly.
func run(ctx context.Context, args []string, stdout *os.File, stderr io.Writer) int {
	if len(args) == 0 || args[0] == "-h" || args[0] == "--help" || args[0] == "help" {
		say(stderr, usage)
		if len(args) == 0 {
			return 2
		}
		return 0
	}
	name := args[0]
	cmd, known := commands()[name]
	if !known {
		say(stderr, "nodeimage: there is no command %q\n\n%s", name, usage)
		return 2
	}
	opts, err := parse(name, cmd.flags, args[1:], stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		say(stderr, "nodeimage %s: %v\n", name, err)
		return 2
	}
	if err := do(ctx, cmd, opts, stdout); err != nil {
		explain(stderr, name, err)
		return 1
	}
	return 0
}

// do runs a command under its lock.
func do(ctx context.Context, cmd command, opts options, stdout *os.File) error {
	c, err := cache.Open(opts.cache)
	if err != nil {
		return err
	}
	a := newApp(c, steps.New(stdout, c.Logs()), stdout)
	if cmd.locks != nothing {
		unlock, err := a.lock(ctx, cache.Clusters, cmd.locks == shared)
		if err != nil {
			return err
		}
		defer unlock()
	}
	return cmd.do(a, ctx, opts)
}

// say prints to a person: when that does not work, there is nobody to tell.
func say(w io.Writer, format string, args ...any) { _, _ = fmt.Fprintf(w, format, args...) }

func explain(stderr io.Writer, name string, err error) {
	if steps.Shown(err) {
		return
	}
	say(stderr, "nodeimage %s: %v\n", name, err)
	if advice := steps.Advice(err); advice != "" {
		say(stderr, "%s\n", advice)
	}
}

func parse(name, takes string, args []string, stderr io.Writer) (options, error) {
	var o options
	fs := flag.NewFlagSet("nodeimage "+name, flag.ContinueOnError)
	fs.SetOutput(io.Discard) // errors are printed once, by run
	fs.StringVar(&o.cache, "cache", "",
		"`folder` of all that is kept (default $DRAGOMAN_CACHE, else dragoman in the user's cache folder)")
	for _, t := range takes {
		switch t {
		case 'n':
			fs.StringVar(&o.name, "name", "dragoman", "`name` of the cluster")
		case 'k':
			fs.StringVar(&o.kubernetes, "kubernetes", versions.Default, "Kubernetes `version`")
		case 'c':
			fs.StringVar(&o.config, "config", "", "kind configuration `file` (default one control plane, one worker)")
			fs.StringVar(&o.nodeImage, "node-image", "auto",
				"pull, build, or auto: pull when a registry answers, else build")
		}
	}
	err := fs.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		fs.SetOutput(stderr)
		fs.Usage()
	}
	if err != nil {
		return o, err
	}
	o.args = fs.Args()
	return o, o.check(name)
}

func (o options) check(name string) error {
	if name == "load" && len(o.args) == 0 {
		return errors.New("name at least one image archive (docker save -o FILE IMAGE makes one)")
	}
	if name != "load" && len(o.args) > 0 {
		return fmt.Errorf("takes no arguments, got %q", o.args)
	}
	switch o.nodeImage {
	case "", "auto", "pull", "build":
	default:
		return fmt.Errorf("--node-image %q: want auto, pull or build", o.nodeImage)
	}
	if o.kubernetes != "" {
		_, err := versions.Lookup(o.kubernetes)
		return err
	}
	return nil
}
