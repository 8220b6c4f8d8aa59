package engine

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"example.com/dragoman/e2e/nodeimage/internal/steps"
)

// fakeDocker puts a docker on PATH that is a shell script.
func fakeDocker(t *testing.T, script string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "docker"), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

func TestFindAsksInOrder(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "docker.sock")
	own := Engine{Host: "unix://" + socket, Ours: true}
	named := Engine{Host: "tcp://elsewhere:1"}
	for name, tc := range map[string]struct {
		dockerHost string
		ownThere   bool
		answers    string // DOCKER_HOST of the engines that answer; "none" is the client's own choice
		want       Engine
		found      bool
	}{
		"nothing answers":                      {answers: "x"},
		"the client's choice":                  {answers: "none", found: true},
		"our own before the client's choice":   {ownThere: true, answers: "none " + own.Host, want: own, found: true},
		"our own is dead":                      {ownThere: true, answers: "none", found: true},
		"DOCKER_HOST before our own":           {named.Host, true, named.Host + " " + own.Host, named, true},
		"DOCKER_HOST is dead, our own lives":   {named.Host, true, "none " + own.Host, own, true},
		"DOCKER_HOST names our own":            {own.Host, true, own.Host, own, true},
		"DOCKER_HOST excludes client's choice": {named.Host, false, "none", Engine{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			fakeDocker(t, `case " `+tc.answers+` " in *" ${DOCKER_HOST:-none} "*) echo 20.10;; *) exit 1;; esac`)
			t.Setenv("DOCKER_HOST", tc.dockerHost)
			_ = os.Remove(socket)
			if tc.ownThere {
				if err := os.WriteFile(socket, nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if got, found := Find(context.Background(), own); got != tc.want || found != tc.found {
				t.Errorf("got %+v, %v; want %+v, %v", got, found, tc.want, tc.found)
			}
		})
	}
}

func TestPull(t *testing.T) {
	for name, tc := range map[string]struct{ script, want string }{
		"an image that is there": {`echo "v1: Pulling from kindest/node"; echo done`, ""},
		"no registry":            {`echo "lookup registry: no such host" >&2; exit 1`, "lookup registry: no such host"},
	} {
		t.Run(name, func(t *testing.T) {
			fakeDocker(t, tc.script)
			out, err := os.Create(filepath.Join(t.TempDir(), "out"))
			if err != nil {
				t.Fatal(err)
			}
			pull := func(ctx context.Context, log *steps.Log) error {
				return Engine{}.Pull(ctx, log, "kindest/node:v1")
			}
			r := steps.New(out, t.TempDir())
			err = errors.Join(r.Run(context.Background(), "pull", "pull", "", pull), out.Close())
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || err.Error() != tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

func TestKindClusters(t *testing.T) {
	fakeDocker(t, `case "$*" in *label=io.x-k8s.kind.cluster*) printf 'a\na\nb\n';; esac`)
	got, err := Engine{}.KindClusters(context.Background())
	if err != nil || !slices.Equal(got, strings.Fields("a a b")) {
		t.Errorf("got %v, %v", got, err)
	}
}
