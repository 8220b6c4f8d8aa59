package driverroot

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path"
)

// ldCache is where the dynamic linker keeps which library is where.
const ldCache = "/etc/ld.so.cache"

// The format of the file, from glibc's sysdeps/generic/dl-cache.h: struct cache_file_new, after it an array of struct
// file_entry_new; the offsets in an entry count from the start of the former. In front of it all there may be a cache
// of the format before, which ends at an eight-byte boundary.
const (
	ldMagic       = "glibc-ld.so.cache1.1"
	ldHeaderSize  = 48
	ldEntrySize   = 24
	ldMostEntries = 1 << 20
)

// cached returns the paths that the linker's cache of the root has for a library.
func (r Root) cached(name string) ([]string, error) {
	inRoot, err := r.Resolve(ldCache)
	if err != nil {
		return nil, err
	}
	raw, err := os.ReadFile(r.Path(inRoot))
	if err != nil {
		return nil, err
	}
	found, err := parseLDCache(raw, name)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", r.Path(inRoot), err)
	}
	return found, nil
}

func parseLDCache(raw []byte, name string) ([]string, error) {
	start := bytes.Index(raw, []byte(ldMagic))
	if start < 0 || len(raw)-start < ldHeaderSize {
		return nil, errors.New("no linker cache of glibc 2.2 or later")
	}
	raw = raw[start:]
	count := int(binary.NativeEndian.Uint32(raw[len(ldMagic):]))
	if count > ldMostEntries || len(raw) < ldHeaderSize+count*ldEntrySize {
		return nil, errors.New("linker cache is cut off")
	}
	var found []string
	for i := range count {
		entry := raw[ldHeaderSize+i*ldEntrySize:]
		key, value := binary.NativeEndian.Uint32(entry[4:]), binary.NativeEndian.Uint32(entry[8:])
		if text(raw, key) == name && path.IsAbs(text(raw, value)) {
			found = append(found, text(raw, value))
		}
	}
	return found, nil
}

// text returns what is between an offset and the next zero byte.
func text(raw []byte, offset uint32) string {
	if int(offset) >= len(raw) {
		return ""
	}
	s, _, _ := bytes.Cut(raw[offset:], []byte{0})
	return string(s)
}
