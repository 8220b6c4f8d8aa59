package apiserver_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/dragoman/pkg/sanity/apiserver"
)

// program writes a kube-apiserver of a version, or an etcd, which is asked for none.
func program(t *testing.T, path, version string) string {
	t.Helper()
	script(t, path, "echo Kubernetes "+version)
	return path
}

func script(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
}

// both writes both programs into a folder.
func both(t *testing.T, dir, version string) {
	t.Helper()
	program(t, filepath.Join(dir, "etcd"), "")
	program(t, filepath.Join(dir, "kube-apiserver"), version)
}

func TestProgramsAreFoundInTheirOrder(t *testing.T) {
	const version = "v1.34.3"
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	for name := range map[string]bool{"given": true, "single": true, "assets": true, "path": true} {
		both(t, at(name), version)
	}
	both(t, at("cache/bin/kubernetes-"+version), version)
	both(t, at("old"), "v1.20.0")
	for name, c := range map[string]struct {
		given       string
		environment map[string]string
		cache, path string
		version     string
		want        string
	}{
		"what is given comes first": {
			given: "given", environment: map[string]string{"KUBEBUILDER_ASSETS": "assets"},
			cache: "cache", path: "path", want: "given",
		},
		"then single programs of the environment": {
			environment: map[string]string{
				"TEST_ASSET_ETCD": "single/etcd", "TEST_ASSET_KUBE_APISERVER": "single/kube-apiserver",
				"KUBEBUILDER_ASSETS": "assets",
			},
			cache: "cache", path: "path", want: "single",
		},
		"then the environment's folder": {
			environment: map[string]string{"KUBEBUILDER_ASSETS": "assets"}, cache: "cache", path: "path", want: "assets",
		},
		"then the cache":                 {cache: "cache", path: "path", want: "cache/bin/kubernetes-" + version},
		"then PATH":                      {cache: "empty", path: "path", want: "path"},
		"any version, if none is wanted": {cache: "empty", path: "old", want: "old"},
		"another version is passed over": {
			environment: map[string]string{"KUBEBUILDER_ASSETS": "old"}, path: "path", version: version, want: "path",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("PATH", at(c.path)+":/bin:/usr/bin")
			search := apiserver.Search{Version: c.version, Cache: at(c.cache), Environment: func(name string) string {
				if c.environment[name] == "" {
					return ""
				}
				return at(c.environment[name])
			}}
			if c.given != "" {
				search.Given = apiserver.Programs{Etcd: at("given/etcd"), APIServer: at("given/kube-apiserver")}
			}
			found, err := apiserver.Find(limited(t), search)
			if err != nil {
				t.Fatal(err)
			}
			if filepath.Dir(found.APIServer) != at(c.want) {
				t.Errorf("found %s, expected that of %s", found.APIServer, c.want)
			}
			if filepath.Dir(found.Etcd) != at(c.want) && name != "another version is passed over" {
				t.Errorf("found %s, expected that of %s", found.Etcd, c.want)
			}
		})
	}
}

func TestAGivenProgramThatIsNotThereIsAnError(t *testing.T) {
	_, err := apiserver.Find(limited(t), apiserver.Search{
		Given: apiserver.Programs{Etcd: "/nowhere/etcd"}, Cache: t.TempDir(),
	})
	if err == nil || !strings.Contains(err.Error(), "/nowhere/etcd") {
		t.Errorf("got %v", err)
	}
}

// fakeGo puts a go command on PATH that knows the modules and builds scripts; it counts its builds.
func fakeGo(t *testing.T, extra string) (builds func() int) {
	t.Helper()
	dir := t.TempDir()
	script(t, filepath.Join(dir, "go"), `
dir=`+dir+`
case "$1" in
mod)
	printf 'module upstream\n\ngo 1.24.0\n' > $dir/upstream.mod
	echo "{\"Dir\":\"$dir\",\"GoMod\":\"$dir/upstream.mod\"}" ;;
build)
	`+extra+`
	echo "$@" >> $dir/builds
	while [ "$1" != -o ]; do shift; done
	case "$2" in */) target=$2/kube-apiserver ;; *) target=$2 ;; esac
	printf '#!/bin/sh\necho Kubernetes v1.34.3\n' > "$target"; chmod +x "$target" ;;
esac`)
	t.Setenv("PATH", dir+":/bin:/usr/bin")
	return func() int {
		content, err := os.ReadFile(filepath.Join(dir, "builds"))
		if err != nil {
			return 0
		}
		return strings.Count(string(content), "\n")
	}
}

func TestProgramsAreBuiltOnce(t *testing.T) {
	builds := fakeGo(t, "")
	cache := t.TempDir()
	var mutex sync.Mutex
	var said []string
	search := apiserver.Search{Cache: cache, Version: "v1.34.3", Say: func(line string) {
		mutex.Lock()
		defer mutex.Unlock()
		said = append(said, line)
	}}
	var runs sync.WaitGroup
	for range 3 { // at once
		runs.Go(func() {
			found, err := apiserver.Find(limited(t), search)
			if err != nil {
				t.Error(err)
				return
			}
			want := filepath.Join(cache, "bin", "kubernetes-v1.34.3")
			if found.Etcd != want+"/etcd" || found.APIServer != want+"/kube-apiserver" {
				t.Errorf("found %+v", found)
			}
		})
	}
	runs.Wait()
	if n := builds(); n != 2 {
		t.Errorf("%d builds, expected one of etcd and one of kube-apiserver", n)
	}
	if all := strings.Join(said, "\n"); !strings.Contains(all, "building etcd v3.6.5") ||
		!strings.Contains(all, "building kube-apiserver v1.34.3") {
		t.Errorf("said only:\n%s", all)
	}
	if _, err := apiserver.Find(limited(t), search); err != nil || builds() != 2 {
		t.Errorf("found again: %v, %d builds", err, builds())
	}
}

func TestABuildThatDoesNotWorkSaysWhy(t *testing.T) {
	for name, c := range map[string]struct {
		version string
		extra   string // shell commands of the go command
		want    []string
	}{
		"the compiler refuses": {
			"v1.34.3", `echo "x.go:1: no such thing"; exit 1`,
			[]string{"kube-apiserver v1.34.3", "KUBEBUILDER_ASSETS", "build etcd v3.6.5", "x.go:1: no such thing"},
		},
		"nobody knows the version": {
			"v1.20.0", "", []string{"pinned: v1.34.3, v1.37.2", "let KUBEBUILDER_ASSETS name a folder"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			fakeGo(t, c.extra)
			cache := t.TempDir()
			_, err := apiserver.Find(limited(t), apiserver.Search{Cache: cache, Version: c.version})
			if err == nil {
				t.Fatal("it was built")
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%v\ndoes not say %q", err, want)
				}
			}
			if _, err := os.Stat(filepath.Join(cache, "bin", "kubernetes-"+c.version)); err == nil {
				t.Error("half a build looks like a whole one")
			}
		})
	}
	t.Run("there is no Go", func(t *testing.T) {
		t.Setenv("PATH", t.TempDir())
		_, err := apiserver.Find(limited(t), apiserver.Search{Cache: t.TempDir()})
		if err == nil || !strings.Contains(err.Error(), "Go on PATH") {
			t.Errorf("got %v", err)
		}
	})
}

func TestABuildEndsWithItsContext(t *testing.T) {
	dir := t.TempDir()
	fakeGo(t, "touch "+dir+"/began; exec sleep 600")
	ctx, stop := context.WithCancel(limited(t))
	go func() {
		for ctx.Err() == nil {
			if _, err := os.Stat(dir + "/began"); err == nil {
				stop()
			}
			time.Sleep(time.Millisecond)
		}
	}()
	if _, err := apiserver.Find(ctx, apiserver.Search{Cache: t.TempDir()}); err == nil {
		t.Error("it was built")
	}
	expectNoChildren(t)
}
