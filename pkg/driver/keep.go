package driver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"
)

const (
	// keepInterval is the time between two looks at our own sockets. Looking is a few system calls; being told of
	// changes (inotify) would cost instances of which a node has few, and would still have to be replaced by looking
	// where they have run out.
	keepInterval = time.Second
	// sweepEvery is in how many of these looks sockets of other instances are looked at too.
	sweepEvery = 30
	// lockPatience bounds the wait for another instance that is taking its place, which takes it milliseconds.
	lockPatience = 5 * time.Second
	lockPause    = 20 * time.Millisecond
)

// keep looks again and again whether the sockets are where the kubelet looks for them, and makes them again where they
// are not, until ctx ends. An error is one that making them again cannot help against.
func (s *sockets) keep(ctx context.Context) error {
	logger := klog.FromContext(ctx)
	ticker := time.NewTicker(keepInterval)
	defer ticker.Stop()
	var trouble string
	var dead map[string]bool
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		err := s.look(ctx)
		if n%sweepEvery == 0 {
			dead = s.sweepAgain(ctx, dead)
		}
		switch {
		case errors.As(err, new(*lostPlaceError)):
			return err
		case err == nil:
			trouble = ""
		case err.Error() != trouble: // said once
			trouble = err.Error()
			logger.Error(err, "Make a socket again that was removed; will try again")
		}
	}
}

// lostPlaceError is why this process cannot serve any more.
type lostPlaceError struct{ error }

func (e *lostPlaceError) Unwrap() error { return e.error }

// look makes again what is not in its place any more.
func (s *sockets) look(ctx context.Context) error {
	for _, dir := range append([]string{s.registryDir, s.dataDir}, s.others...) {
		if err := removedBehindMount(dir); err != nil {
			return err
		}
	}
	s.mu.Lock()
	open := s.open
	s.mu.Unlock()
	for _, l := range open {
		if ok, err := l.inPlace(); ok {
			continue
		} else if err != nil {
			return fmt.Errorf("look at socket: %w", err)
		}
		if err := s.renew(ctx, l); err != nil {
			return err
		}
		klog.FromContext(ctx).Info("Made a socket again that was removed or replaced", "socket", l.path)
	}
	return nil
}

func (s *sockets) renew(ctx context.Context, l *listener) error {
	for _, dir := range []string{s.registryDir, s.dataDir} {
		if err := writable(dir); err != nil {
			return fmt.Errorf("make directory of socket %s: %w", l.path, err)
		}
	}
	unlock, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if err := s.free(l.path); err != nil {
		return err
	}
	return l.renew()
}

// removedBehindMount notices that dir is mounted here and was removed where it comes from: it has no name there any
// more, nothing can be made in it, and a directory that was made instead cannot be seen from here. One that is removed
// here, at this moment, can look the same, but only once.
func removedBehindMount(dir string) error {
	before, removed := statRemoved(dir)
	if !removed {
		return nil
	}
	time.Sleep(beingMade)
	if now, removed := statRemoved(dir); removed && now == before {
		return &lostPlaceError{fmt.Errorf("directory %s was removed on the node while it is mounted here; this process "+
			"ends, so that a new container gets the directory that is there now", dir)}
	}
	return nil
}

// removal is of which directory and when. Inodes come again, so the one without the other would not do.
type removal struct {
	device, inode uint64
	changed       unix.Timespec
}

// statRemoved looks at what the path leads to, and says whether it is a directory that has no name.
func statRemoved(dir string) (removal, bool) {
	var stat unix.Stat_t
	if err := unix.Stat(dir, &stat); err != nil {
		return removal{}, false // what is missing is made again, and the rest is said then
	}
	return removal{device: stat.Dev, inode: stat.Ino, changed: stat.Ctim}, stat.Nlink == 0
}

// sweepAgain removes sockets of other instances that were dead the last time too, and returns which are dead now: an
// instance that is just starting is dead for a moment.
func (s *sockets) sweepAgain(ctx context.Context, before map[string]bool) map[string]bool {
	logger := klog.FromContext(ctx)
	unlock, err := s.lock(ctx)
	if err != nil {
		logger.V(2).Info("Cannot look for sockets of instances that are gone; will look again", "err", err)
		return before
	}
	defer unlock()
	paths, err := s.dead()
	if err != nil {
		logger.V(2).Info("Cannot look for sockets of instances that are gone; will look again", "err", err)
		return nil
	}
	dead := make(map[string]bool, len(paths))
	for _, path := range paths {
		if dead[path] = true; !before[path] {
			continue
		}
		if err := remove(path); err != nil {
			logger.Error(err, "Remove socket of an instance that is gone; will try again")
			continue
		}
		logger.Info("Removed socket of an instance that is gone", "socket", path)
	}
	return dead
}

// lock keeps other instances of this driver from taking or removing sockets, so that looking whether somebody is there
// and taking the place is one thing. It locks the directory itself, which leaves nothing behind and ends with the
// process.
func (s *sockets) lock(ctx context.Context) (unlock func(), err error) {
	dir, err := os.Open(s.dataDir)
	if err != nil {
		return nil, fmt.Errorf("lock directory of sockets: %w", err)
	}
	for end := time.Now().Add(s.patience); ; {
		err := unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return func() { _ = dir.Close() }, nil
		case errors.Is(err, unix.EINTR):
			continue
		case !errors.Is(err, unix.EWOULDBLOCK):
			_ = dir.Close()
			return nil, &fs.PathError{Op: "lock", Path: s.dataDir, Err: err}
		case time.Now().After(end):
			_ = dir.Close()
			return nil, fmt.Errorf("lock directory %s: another instance of driver %q has been starting for more than %s; "+
				"if it hangs, end it", s.dataDir, s.driverName, s.patience)
		}
		select {
		case <-ctx.Done():
			_ = dir.Close()
			return nil, ctx.Err()
		case <-time.After(lockPause):
		}
	}
}
