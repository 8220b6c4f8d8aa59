package cdi

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"syscall"

	"k8s.io/apimachinery/pkg/types"
)

// Says returns whether the claim's file is there and says what raw does, which an earlier Write returned. It changes
// nothing.
func (d *Dir) Says(claim types.UID, raw json.RawMessage) bool {
	if checkUID(claim) != nil {
		return false
	}
	content, err := layOut(raw)
	if err != nil {
		return false
	}
	there, err := d.files.Read(d.name(claim), specLimit)
	return err == nil && bytes.Equal(there, content)
}

// Interrupted returns whether there is, or may be, an unfinished file of the claim.
func (d *Dir) Interrupted(claim types.UID) bool {
	there, err := d.there(claim, d.unfinishedName(claim))
	return there || err != nil
}

// Has returns whether there is a file of the claim, finished or not.
func (d *Dir) Has(claim types.UID) (bool, error) {
	if there, err := d.there(claim, d.name(claim)); there || err != nil {
		return there, err
	}
	return d.there(claim, d.unfinishedName(claim))
}

func (d *Dir) there(claim types.UID, name string) (bool, error) {
	if err := checkUID(claim); err != nil {
		return false, err
	}
	_, err := d.files.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, d.files.Explain("look for CDI spec", err)
}

// Stamp is another one after a file was made or removed in the directory, or the directory itself was. It may be the
// same if that was within the same tick of the kernel's clock, some milliseconds.
type Stamp struct {
	device, inode       uint64
	seconds, nanosecond int64
}

// Stamp looks at the directory without listing it.
func (d *Dir) Stamp() (Stamp, error) {
	info, err := os.Stat(d.path)
	if errors.Is(err, fs.ErrNotExist) {
		return Stamp{}, nil
	}
	if err != nil {
		return Stamp{}, d.files.Explain("look at CDI directory", err)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return Stamp{}, errors.New("look at CDI directory: the system does not say when it changed")
	}
	return Stamp{device: stat.Dev, inode: stat.Ino, seconds: stat.Mtim.Sec, nanosecond: stat.Mtim.Nsec}, nil
}
