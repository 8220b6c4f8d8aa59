// Package cache knows where things lie between runs, and keeps two runs from trampling each other.
package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// maxRoot leaves room for the longest socket path below the root, engine/exec/containerd/containerd-debug.sock: Linux
// allows 107 bytes for one.
const maxRoot = 60

// Cache is the one folder that stays on the machine.
type Cache struct{ root string }

// Open makes the cache folder when it is missing. An empty dir means $DRAGOMAN_CACHE, else the user's cache folder.
func Open(dir string) (Cache, error) {
	if dir == "" {
		dir = os.Getenv("DRAGOMAN_CACHE")
	}
	if dir == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return Cache{}, fmt.Errorf("find cache folder: %w; name one with --cache or DRAGOMAN_CACHE", err)
		}
		dir = filepath.Join(user, "dragoman")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return Cache{}, fmt.Errorf("find cache folder: %w", err)
	}
	if len(dir) > maxRoot {
		return Cache{}, fmt.Errorf(
			"cache folder %s has a name of %d bytes, and sockets below it allow %d: choose a shorter --cache",
			dir, len(dir), maxRoot)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return Cache{}, fmt.Errorf("make cache folder: %w", err)
	}
	return Cache{dir}, nil
}

// Path names a file or folder in the cache.
func (c Cache) Path(elem ...string) string {
	return filepath.Join(append([]string{c.root}, elem...)...)
}

// Logs is the folder of the steps' logs.
func (c Cache) Logs() string { return c.Path("logs") }

// What is in the cache and can be locked. Who needs both takes Clusters first.
const (
	Clusters = "clusters" // the engine and what runs in it
	Builds   = "builds"   // what is built, on the way and finished
)

// Lock waits until no other run holds what (Clusters or Builds), calling waiting once if it has to. Shared locks
// exclude only exclusive ones. The lock ends with the returned function or with the process.
func (c Cache) Lock(ctx context.Context, what string, shared bool, waiting func()) (func(), error) {
	f, err := os.OpenFile(c.Path("lock-"+what), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open cache lock: %w", err)
	}
	unlock := func() { _ = f.Close() } // closing the file ends its lock
	how := unix.LOCK_EX
	if shared {
		how = unix.LOCK_SH
	}
	for first := true; ; first = false {
		err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
		if err == nil {
			return unlock, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			unlock()
			return nil, fmt.Errorf("lock cache: %w", err)
		}
		if first {
			waiting()
		}
		select {
		case <-ctx.Done():
			unlock()
			return nil, fmt.Errorf("wait for cache lock: %w", ctx.Err())
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// Write makes a file whole or not at all: write fills a temporary neighbour, which is then renamed.
func Write(path string, perm os.FileMode, write func(io.Writer) error) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("create temporary file: %w", err)
	}
	defer func() { _ = os.Remove(f.Name()) }() // after the renaming there is none
	if err := errors.Join(write(f), f.Chmod(perm), f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// Exists tells whether a path is there.
func Exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
