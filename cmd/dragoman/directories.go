package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"

	"example.com/dragoman/pkg/cdi"
	"example.com/dragoman/pkg/checkpoint"
)

// openPause is the time between two attempts at opening a directory that may become writable.
const openPause = 2 * time.Second

func (p *process) openRecords(ctx context.Context) error {
	return patiently(ctx, "--state-dir", p.stateDir(), func() (err error) {
		p.records, err = checkpoint.Open(p.stateDir()) //nolint:contextcheck // it waits for nobody
		return err
	})
}

func (p *process) openCDI(ctx context.Context) error {
	return patiently(ctx, "--cdi-dir", p.config.CDIDir, func() (err error) {
		p.specs, err = cdi.Open(p.config.CDIDir, p.config.DriverName)
		return err
	})
}

// patiently opens a directory. One that is read-only or full is no reason to end: the process would only be started
// again. If it can be opened so, claims get the error until it is mended; else that is waited for.
func patiently(ctx context.Context, flag, dir string, open func() error) error {
	logger := klog.FromContext(ctx)
	for told := false; ; told = true {
		err := open()
		if err == nil || !mayPass(err) {
			if err == nil {
				err = writable(dir)
			}
			if err != nil && mayPass(err) {
				logger.Error(err, "Cannot write to a directory; claims cannot be prepared until it is possible", "flag", flag)
				return nil
			}
			if err != nil {
				return fmt.Errorf("%s %s: %w; name a directory that this process can write to", flag, dir, err)
			}
			return nil
		}
		if !told {
			logger.Error(err, "Cannot write to a directory that has to be made ready first; waiting until it is possible",
				"flag", flag, "directory", dir)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(openPause):
		}
	}
}

// mayPass says whether a directory may be written to some time without another configuration.
func mayPass(err error) bool {
	return errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) ||
		errors.Is(err, syscall.EIO)
}

// writable finds out what would otherwise be found out with the next claim.
func writable(dir string) error {
	info, err := os.Stat(dir)
	if err == nil && !info.IsDir() {
		err = &fs.PathError{Op: "open", Path: dir, Err: unix.ENOTDIR}
	}
	if err != nil {
		return err
	}
	if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil {
		return &fs.PathError{Op: "write to", Path: dir, Err: err}
	}
	return nil
}

// canWrite returns nil if claims can be prepared and taken back as far as directories are concerned. One that is
// missing is made with the next claim.
func (p *process) canWrite() error {
	var problems []error
	for _, dir := range []string{p.stateDir(), p.config.CDIDir} {
		if err := writable(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			problems = append(problems, err)
		}
	}
	return errors.Join(problems...)
}
