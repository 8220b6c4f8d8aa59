package fault

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"example.com/dragoman/pkg/sanity/kubelet"
	"example.com/dragoman/pkg/sanity/node"
	"example.com/dragoman/pkg/sanity/suite"
)

func (r *rig) removals() []suite.Case {
	return []suite.Case{{
		Name:    "cdi-directory-removed",
		Promise: "When the CDI directory was removed, a repeated prepare, a new one and unprepare succeed.",
		Source:  sourcePlugin, Needs: nil, Run: func(t *suite.T) { r.removed(t, r.Dirs.CDI, true) },
	}, {
		Name: "state-directory-removed",
		Promise: "When the directory with the driver's records was removed, unprepare still leaves nothing and " +
			"prepare succeeds.",
		Source: sourcePlugin, Needs: []suite.Need{needsStateDir},
		Run: func(t *suite.T) { r.removed(t, r.Dirs.State, false) },
	}, {
		Name: "sockets-removed",
		Promise: "When its sockets were removed, the driver makes them again or ends, so that it is started again; it " +
			"forgets nothing.",
		Source: "KEP-4381: the kubelet reaches a driver by its sockets alone", Needs: []suite.Need{node.NeedsRestart},
		Timeout: 3 * time.Minute, Run: r.socketsRemoved,
	}, {
		Name: "plugin-directories-removed",
		Promise: "When the registry and the driver's own directory were removed and made again, the driver makes its " +
			"sockets again or ends.",
		Source: "a node's plugin directories are made anew when somebody repairs the node", Timeout: 3 * time.Minute,
		Needs: []suite.Need{node.NeedsRestart}, Run: r.pluginDirectoriesRemoved,
	}}
}

// needsStateDir is for cases that do something to the driver's records.
const needsStateDir suite.Need = "the directory of the driver's records"

// removed removes a directory in use. What is in it is lost; whether a repeated answer must be the same depends on
// that.
func (r *rig) removed(t *suite.T, dir string, same bool) {
	if mountOf(dir) == dir {
		t.NotRun("%s is a mount point, which cannot be removed", dir)
	}
	plugin := r.Registered(t)
	repeated, leaving, coming := r.Exclusive(t, "repeated", 1), r.Exclusive(t, "leaving", 1), r.Exclusive(t, "coming", 1)
	first := r.Prepare(t, plugin, repeated)
	r.Prepare(t, plugin, leaving)
	t.Must(os.RemoveAll(dir), "remove %s", dir)
	r.Unprepare(t, plugin, leaving)
	again := r.Prepare(t, plugin, repeated)
	if same {
		r.Same(t, "after "+dir+" was removed", first, again)
	}
	r.Prepare(t, plugin, coming)
	r.Unprepare(t, plugin, coming)
	r.Unprepare(t, plugin, repeated)
}

func (r *rig) socketsRemoved(t *suite.T) {
	claim := r.Exclusive(t, "claim", 1)
	first := r.Prepare(t, r.Registered(t), claim)
	for _, dir := range []string{r.Dirs.Registry, r.Dirs.Plugin} {
		sockets, err := socketsIn(dir)
		t.Must(err, "look for sockets")
		if len(sockets) == 0 {
			t.Fatalf("there is no socket in %s", dir)
		}
		for _, socket := range sockets {
			t.Must(os.Remove(socket), "remove a socket")
		}
		plugin := r.backAgain(t, dir)
		r.Same(t, "after its sockets were removed", first, r.Prepare(t, plugin, claim))
		r.fatal(t, "the sockets in %s were removed", dir)
	}
	r.Unprepare(t, r.Registered(t), claim)
}

func (r *rig) pluginDirectoriesRemoved(t *suite.T) {
	claim := r.Exclusive(t, "claim", 1)
	first := r.Prepare(t, r.Registered(t), claim)
	for _, dir := range []string{r.Dirs.Registry, r.Dirs.Plugin} {
		sockets, err := socketsIn(dir)
		t.Must(err, "look for sockets")
		for _, socket := range sockets { // its records, if it has them here, are another case
			t.Must(os.Remove(socket), "remove a socket")
		}
	}
	moved := r.Dirs.Registry + ".gone"
	t.Must(os.Rename(r.Dirs.Registry, moved), "take the registry away")
	t.Must(os.Remove(moved), "remove the registry")
	t.Must(os.Mkdir(r.Dirs.Registry, 0o750), "make the registry again")
	plugin := r.backAgain(t, r.Dirs.Registry)
	r.Same(t, "after its directories were removed", first, r.Prepare(t, plugin, claim))
	r.Unprepare(t, plugin, claim)
}

// backAgain waits until a kubelet that starts now can call the driver after something happened in dir: the driver
// mended it by itself, or ended and was started again, as the kubelet starts a container.
func (r *rig) backAgain(t *suite.T, dir string) *kubelet.Plugin {
	t.Must(r.RestartKubelet(kubelet.Options{}), "start the kubelet again")
	start, restarted := time.Now(), false
	var plugin *kubelet.Plugin
	err := suite.Poll(t.Context(), 2*node.Patience, func(ctx context.Context) (err error) {
		if r.Subject.Foreground() && len(r.Subject.Running()) == 0 {
			restarted = true
			if _, err := r.Subject.Start(ctx); err != nil {
				return err
			}
		}
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		plugin, err = r.answering(ctx)
		return err
	})
	if err != nil {
		t.Errorf("%s lost its sockets, and within %v the driver did not make them again, nor did it end: %v; no pod that "+
			"needs its devices starts on the node until somebody restarts it", dir, 2*node.Patience, err)
		r.KillDriver(t) // for what comes after
		t.Fatalf("the driver was restarted for the next case")
	}
	how := "by itself"
	if restarted {
		how = "after it had ended and was started again"
	}
	t.Notef("%s: back %s after %v", filepath.Base(dir), how, time.Since(start).Round(10*time.Millisecond))
	return plugin
}

// answering returns the instance that is registered if it answers an empty call.
func (r *rig) answering(ctx context.Context) (*kubelet.Plugin, error) {
	plugin, err := r.Kubelet().Registered(ctx, r.Cluster.Driver)
	if err != nil {
		return nil, err
	}
	if _, err := plugin.Prepare(ctx); err != nil {
		return nil, fmt.Errorf("call the driver without claims: %w", err)
	}
	return plugin, nil
}

func socketsIn(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var sockets []string
	for _, entry := range entries {
		if entry.Type()&fs.ModeSocket != 0 {
			sockets = append(sockets, filepath.Join(dir, entry.Name()))
		}
	}
	return sockets, nil
}
