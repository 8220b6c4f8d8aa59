package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"example.com/dragoman/pkg/device"
	"example.com/dragoman/pkg/doctor"
)

// errBadNode is what the exit code tells scripts; what is wrong has been printed.
var errBadNode = errors.New("the driver cannot work on this node; the lines marked \"bad\" say why")

// printFindings looks at the node and prints a line for each thing that the driver needs, with what to do about it.
func printFindings(ctx context.Context, args []string, getenv func(string) string, stdout, _ io.Writer) error {
	settings := newSettings("dragoman doctor [flags]", nil)
	settings.nodeName = hostName()
	if done, err := settings.parse(args, stdout); done || err != nil {
		return err
	}
	config, err := settings.config(getenv)
	if err != nil {
		return err
	}
	backend, err := backendOf(ctx, config, "")
	if err != nil {
		return err
	}
	options := doctor.Options{DriverName: config.DriverName, NodeName: config.NodeName,
		KubeletDir: config.KubeletDir, CDIDir: config.CDIDir, StateDir: config.StateDir,
		RuntimeSockets: doctor.RuntimeSockets(), Backend: backend}
	if root := config.NVML.DriverRoot; root != "/" { // in a pod that may be the root of the node
		for _, socket := range doctor.RuntimeSockets() {
			options.RuntimeSockets = append(options.RuntimeSockets, filepath.Join(root, socket))
		}
	}
	if c, err := newClients(config.Kubeconfig); err != nil {
		options.NoClient = err
	} else {
		options.Client = c.slices
	}
	return writeFindings(stdout, doctor.Examine(ctx, options))
}

// writeFindings aligns the subjects. Its error is errBadNode if one of the findings is bad.
func writeFindings(stdout io.Writer, findings []device.Finding) error {
	var text strings.Builder
	verdict, width := error(nil), 0
	for _, f := range findings {
		width = max(width, len(f.Subject))
	}
	for _, f := range findings {
		fmt.Fprintf(&text, "%-8s %-*s  %s\n", f.Verdict, width, f.Subject, f.Detail)
		if f.Mend != "" {
			fmt.Fprintf(&text, "%-8s %*s  → %s\n", "", width, "", f.Mend)
		}
		if f.Verdict == device.Bad {
			verdict = errBadNode
		}
	}
	if _, err := io.WriteString(stdout, text.String()); err != nil {
		return err
	}
	return verdict
}
