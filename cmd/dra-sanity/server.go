package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"example.com/dragoman/pkg/sanity/apiserver"
)

// serverChoice says which API server: one that is there, or one of our own.
type serverChoice struct {
	kubeconfig, kubernetes, featureGates string
	embedded                             bool
}

func (c *serverChoice) flags(flags *flag.FlagSet) {
	flags.StringVar(&c.kubeconfig, "kubeconfig", "",
		"`FILE` of a cluster to work in, with rights to make nodes, namespaces and claims")
	flags.BoolVar(&c.embedded, "embedded", false, "start an API server of our own on loopback, instead of --kubeconfig")
	flags.StringVar(&c.kubernetes, "kubernetes", "", "`VERSION` of the API server that --embedded starts, such as "+
		"v1.34.3\n(default: what is there, else "+apiserver.DefaultVersion+"); it is built once if it is not there, which "+
		"needs Go")
	flags.StringVar(&c.featureGates, "feature-gates", "", "`GATES` of Kubernetes that the API server of --embedded has, "+
		"such as\nDRAConsumableCapacity=true,DRADeviceTaints=true (default: those of its version)")
}

// complete says what is missing.
func (c *serverChoice) complete() error {
	switch {
	case c.embedded == (c.kubeconfig != ""):
		return errors.New("say either --kubeconfig, or --embedded for an API server of our own")
	case c.kubernetes != "" && !c.embedded:
		return errors.New("--kubernetes is for --embedded")
	case c.featureGates != "" && !c.embedded:
		return errors.New("--feature-gates is for --embedded; other API servers have the gates that they were started with")
	}
	return nil
}

// open returns the path of the kubeconfig, and the API server if it is one of our own.
func (c *serverChoice) open(ctx context.Context, stderr io.Writer) (string, *apiserver.Server, error) {
	if !c.embedded {
		path, err := filepath.Abs(c.kubeconfig)
		if err != nil {
			return "", nil, fmt.Errorf("find the kubeconfig: %w", err)
		}
		return path, nil, nil
	}
	programs, err := apiserver.Find(ctx, apiserver.Search{
		Version: c.kubernetes, Environment: os.Getenv,
		Say: func(line string) { _, _ = fmt.Fprintln(stderr, line) }, // it is only progress
	})
	if err != nil {
		return "", nil, fmt.Errorf("--embedded: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	server, err := apiserver.Start(ctx, apiserver.Options{Programs: programs, FeatureGates: c.featureGates})
	if err != nil {
		return "", nil, fmt.Errorf("--embedded: %w", err)
	}
	return server.Kubeconfig, server, nil
}
