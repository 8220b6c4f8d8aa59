package mock

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// listen is how often it is looked whether the machine was told something. That is not watched with inotify, of which a
// node has few instances: most machines are never told anything, and then looking is two system calls.
const listen = 500 * time.Millisecond

// Watch reports when the content of the profile file changed, also when it is part of a mounted ConfigMap, which
// Kubernetes replaces as a whole, and when somebody told the machine something. A built-in profile never changes.
func (b *Backend) Watch(ctx context.Context, changed func()) error {
	profile, err := b.watchProfile()
	if err != nil {
		return err
	}
	defer profile.close()
	told := time.NewTicker(listen)
	defer told.Stop()
	for differs := b.differs; ; {
		if differs() {
			changed()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-told.C:
			differs = b.toldMore
		case event := <-profile.events:
			differs = b.differs
			if event.Name == profile.dir && event.Has(fsnotify.Remove) {
				return fmt.Errorf("watch machine profile %s: its directory was removed", b.source.name)
			}
		case err := <-profile.errors:
			differs = b.differs
			if !errors.Is(err, fsnotify.ErrEventOverflow) {
				return fmt.Errorf("watch machine profile %s: %w", b.source.name, err)
			}
		}
	}
}

// profileWatch tells of the directory of a profile file. That of a built-in profile tells nothing.
type profileWatch struct {
	dir    string
	events <-chan fsnotify.Event
	errors <-chan error
	close  func()
}

func (b *Backend) watchProfile() (profileWatch, error) {
	if !b.source.file {
		return profileWatch{close: func() {}}, nil
	}
	dir := filepath.Dir(b.source.name)
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return profileWatch{}, fmt.Errorf("watch machine profile %s: %w", b.source.name, err)
	}
	if err := watcher.Add(dir); err != nil {
		_ = watcher.Close()
		return profileWatch{}, fmt.Errorf("watch machine profile %s: %w", b.source.name, err)
	}
	return profileWatch{dir: dir, events: watcher.Events, errors: watcher.Errors,
		close: func() { _ = watcher.Close() }}, nil
}
