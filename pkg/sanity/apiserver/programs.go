package apiserver

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// DefaultVersion is the version of Kubernetes that is built when none is asked for.
const DefaultVersion = "v1.34.3"

// Programs are the programs of an API server.
type Programs struct {
	Etcd      string // path of etcd
	APIServer string // path of kube-apiserver
}

// Search says which programs are wanted and where they may be.
type Search struct {
	// Given are paths that somebody has named: they are taken or it is an error. What is empty is looked for.
	Given Programs
	// Version is the version of kube-apiserver, for example v1.34.3. With none, whichever is found is right.
	Version string
	// Environment has the variables by which envtest finds the same programs: TEST_ASSET_ETCD,
	// TEST_ASSET_KUBE_APISERVER and KUBEBUILDER_ASSETS. None means not to look there; programs give os.Getenv.
	Environment func(name string) string
	// Cache is the folder of what is built here; none means dra-sanity in the user's cache folder.
	Cache string
	// Say is told in a line what takes long; none means silence.
	Say func(line string)
}

// Find returns the programs: those that are given, else those of the environment, of the cache and of PATH, in this
// order. What is in none of these is built from the modules of etcd and Kubernetes, once, which needs Go on PATH and
// takes minutes.
func Find(ctx context.Context, search Search) (Programs, error) {
	if search.Cache == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return Programs{}, fmt.Errorf("find the cache folder: %w", err)
		}
		search.Cache = filepath.Join(user, "dra-sanity")
	}
	etcd, err := search.find(ctx, "etcd", search.Given.Etcd, "TEST_ASSET_ETCD")
	if err != nil {
		return Programs{}, err
	}
	api, err := search.find(ctx, "kube-apiserver", search.Given.APIServer, "TEST_ASSET_KUBE_APISERVER")
	if err != nil {
		return Programs{}, err
	}
	if etcd != "" && api != "" {
		return Programs{etcd, api}, nil
	}
	built, err := search.build(ctx)
	if err != nil {
		return Programs{}, fmt.Errorf("make etcd and kube-apiserver %s, which are not in KUBEBUILDER_ASSETS, %s or PATH: %w",
			cmp.Or(search.Version, "of any version"), search.bin(), err)
	}
	return Programs{cmp.Or(etcd, built.Etcd), cmp.Or(api, built.APIServer)}, nil
}

// find returns the first program of that name and of the right version, or nothing if none of the places has it.
func (s Search) find(ctx context.Context, name, given, variable string) (string, error) {
	if given != "" {
		path, err := exec.LookPath(given)
		if err != nil {
			return "", fmt.Errorf("find %s: %w", name, err)
		}
		return filepath.Abs(path)
	}
	for _, path := range s.places(name, variable) {
		path, err := exec.LookPath(path)
		if err != nil {
			continue
		}
		if name == "kube-apiserver" && s.Version != "" {
			if version := versionOf(ctx, path); version != s.Version {
				s.say("%s is %s, not %s: looking further", path, version, s.Version)
				continue
			}
		}
		return filepath.Abs(path)
	}
	return "", nil
}

// places are the paths where a program may be, and its bare name for PATH.
func (s Search) places(name, variable string) (paths []string) {
	if s.Environment != nil {
		paths = append(paths, s.Environment(variable))
		if dir := s.Environment("KUBEBUILDER_ASSETS"); dir != "" {
			paths = append(paths, filepath.Join(dir, name))
		}
	}
	return append(paths, filepath.Join(s.bin(), name), name)
}

// bin is the folder of what is built.
func (s Search) bin() string {
	return filepath.Join(s.Cache, "bin", "kubernetes-"+cmp.Or(s.Version, DefaultVersion))
}

func (s Search) say(format string, args ...any) {
	if s.Say != nil {
		s.Say(fmt.Sprintf(format, args...))
	}
}

// versionOf asks kube-apiserver for its version; it answers "Kubernetes v1.34.3".
func versionOf(ctx context.Context, program string) string {
	said, err := exec.CommandContext(ctx, program, "--version").Output()
	if err != nil {
		return "of no known version"
	}
	return strings.TrimSpace(strings.TrimPrefix(string(said), "Kubernetes "))
}
