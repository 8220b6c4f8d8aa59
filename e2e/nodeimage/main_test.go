package main

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"
)

func TestUsageErrors(t *testing.T) {
	for args, want := range map[string]string{
		"":                          "usage:",
		"fly":                       `no command "fly"`,
		"up --speed 3":              "speed",
		"up --node-image steal":     "want auto, pull or build",
		"up --kubernetes v1.2.3":    "v1.34.3, v1.37.2",
		"up extra":                  "takes no arguments",
		"load":                      "at least one image archive",
		"down --kubernetes v1.34.3": "kubernetes",
		"build --name x":            "name",
	} {
		var stderr bytes.Buffer
		code := run(context.Background(), strings.Fields(args), os.Stdout, &stderr)
		if code != 2 || !strings.Contains(stderr.String(), want) {
			t.Errorf("nodeimage %s: exit %d with %q; want 2 and %q", args, code, stderr.String(), want)
		}
		if args != "" && strings.Count(stderr.String(), "\n") > 1 && args != "fly" {
			t.Errorf("nodeimage %s: more than a line: %q", args, stderr.String())
		}
	}
}

func TestHelp(t *testing.T) {
	for args, want := range map[string]string{"help": "env", "-h": "network", "up -h": "-node-image"} {
		var stderr bytes.Buffer
		if code := run(context.Background(), strings.Fields(args), os.Stdout, &stderr); code != 0 {
			t.Errorf("nodeimage %s: exit %d", args, code)
		}
		if !strings.Contains(stderr.String(), want) {
			t.Errorf("nodeimage %s: %q lacks %q", args, stderr.String(), want)
		}
	}
}

func TestNoCluster(t *testing.T) {
	dir := t.TempDir()
	for _, args := range [][]string{{"env"}, {"network"}, {"load", "--name", "x", "a.tar"}} {
		args = append(args[:1:1], append([]string{"--cache", dir}, args[1:]...)...)
		var stderr bytes.Buffer
		code := run(context.Background(), args, os.Stdout, &stderr)
		if code != 1 || !strings.Contains(stderr.String(), "nodeimage up --name") {
			t.Errorf("%v: exit %d with %q", args, code, stderr.String())
		}
	}
}

func TestQuote(t *testing.T) {
	for in, want := range map[string]string{"/a b": `'/a b'`, "it's": `'it'\''s'`} {
		if got := quote(in); got != want {
			t.Errorf("quote(%q) is %s, want %s", in, got, want)
		}
	}
}
