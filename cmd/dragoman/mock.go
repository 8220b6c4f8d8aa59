package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"example.com/dragoman/pkg/device/mock"
)

// tellMock tells the made-up machine of this node something, beside the process that serves it.
func tellMock(_ context.Context, args []string, getenv func(string) string, stdout, _ io.Writer) error {
	settings := newSettings("dragoman mock [flags] VERB …", nil)
	settings.nodeName = hostName()
	settings.words = true
	settings.more = mockHelp()
	if done, err := settings.parse(args, stdout); done || err != nil {
		return err
	}
	words, err := mock.ParseCommand(settings.flags.Args())
	if err != nil {
		return &usageError{fmt.Sprintf("mock: %v. See \"dragoman mock --help\"", err)}
	}
	config, err := settings.config(getenv)
	if err != nil {
		return err
	}
	if config.Backend != "mock" {
		return fmt.Errorf("mock: the backend is %s, and what it finds is hardware that does not listen; only the machine of "+
			"the backend mock can be told something", config.Backend)
	}
	state := filepath.Join(config.StateDir, config.DriverName)
	if _, err := os.Stat(state); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("mock: no driver %s has run on this node since it booted: there is no %s; --driver-name and "+
			"--state-dir must be those of the driver, or --config name its file", config.DriverName, state)
	}
	backend, err := newMock(config, backendDir(config))
	if err != nil {
		return err
	}
	said, err := backend.Tell(words)
	if err != nil {
		return fmt.Errorf("mock: %w", err)
	}
	_, err = fmt.Fprintln(stdout, said)
	return err
}

// mockHelp is what the help of the sub-command says beside its flags.
func mockHelp() string {
	var b strings.Builder
	b.WriteString("\nVerbs:\n")
	for _, c := range mock.Commands() {
		fmt.Fprintf(&b, "  %-54s %s\n", c.Usage, c.Does)
	}
	b.WriteString(`
The running driver sees it at once: in its ResourceSlices, metrics and events, and in the status of pods. It lasts until
"dragoman mock reset" or until the node reboots, also when the driver is started again.

Examples:
  dragoman mock set gpu-0 health=unhealthy reason="fan broken"
  dragoman mock set gpu-0 taint=example.com/maintenance:NoSchedule
  dragoman mock fail prepare times=2 message="the bus is busy"
  dragoman mock reset
  kubectl -n dragoman exec ds/dragoman -- /dragoman mock show
`)
	return b.String()
}
