package apiserver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"example.com/dragoman/pkg/sanity/gobuild"
)

// build makes both programs and puts them into the cache, whole or not at all.
func (s Search) build(ctx context.Context) (Programs, error) {
	version := cmp.Or(s.Version, DefaultVersion)
	etcd, err := gobuild.EtcdFor(version)
	if err != nil {
		return Programs{}, fmt.Errorf("%w; for another one, let KUBEBUILDER_ASSETS name a folder with etcd and "+
			"kube-apiserver", err)
	}
	programs := Programs{filepath.Join(s.bin(), "etcd"), filepath.Join(s.bin(), "kube-apiserver")}
	if err := os.MkdirAll(filepath.Dir(s.bin()), 0o755); err != nil {
		return Programs{}, fmt.Errorf("make the folder of programs: %w", err)
	}
	unlock, err := s.lock(ctx)
	if err != nil {
		return Programs{}, err
	}
	defer unlock()
	if exists(s.bin()) == nil { // whom we waited for has built them
		return programs, nil
	}
	log, err := os.Create(s.bin() + ".log")
	if err != nil {
		return Programs{}, fmt.Errorf("keep the log of the build: %w", err)
	}
	defer func() { _ = log.Close() }()
	half := s.bin() + ".half"
	builder := gobuild.Builder{Work: filepath.Join(s.Cache, "build")}
	for _, part := range []struct {
		program gobuild.Program
		what    string
		takes   string
	}{
		{gobuild.Etcd(etcd), "etcd " + etcd, "half a minute"},
		{gobuild.Kubernetes(version, "kube-apiserver"), "kube-apiserver " + version, "some five minutes"},
	} {
		begin := time.Now()
		s.say("building %s from its Go modules: once, %s if Go has built nothing of it before", part.what, part.takes)
		if err := builder.Build(ctx, log, part.program, half); err != nil {
			return Programs{}, fmt.Errorf("%w; the end of %s:\n%s", err, log.Name(), tail(log.Name()))
		}
		s.say("built %s in %v", part.what, time.Since(begin).Round(time.Second))
	}
	if err := os.Rename(half, s.bin()); err != nil {
		return Programs{}, fmt.Errorf("keep what was built: %w", err)
	}
	return programs, nil
}

// lock keeps two runs from building at once. It ends with the returned function or with the process.
func (s Search) lock(ctx context.Context) (func(), error) {
	file, err := os.OpenFile(filepath.Join(s.Cache, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open the lock of the cache: %w", err)
	}
	unlock := func() { _ = file.Close() } // closing the file ends its lock
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for waiting := false; ; waiting = true {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return unlock, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			unlock()
			return nil, fmt.Errorf("lock the cache: %w", err)
		}
		if !waiting {
			s.say("another run is building in %s: waiting for it", s.Cache)
		}
		select {
		case <-ctx.Done():
			unlock()
			return nil, fmt.Errorf("wait for the lock of the cache %s: %w", s.Cache, context.Cause(ctx))
		case <-tick.C:
		}
	}
}
