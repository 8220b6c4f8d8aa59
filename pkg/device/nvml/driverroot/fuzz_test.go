package driverroot

import (
	"encoding/binary"
	"path"
	"testing"
)

// FuzzParseLDCache: a file that a driver's installer wrote, or something else, gives absolute paths or an error.
func FuzzParseLDCache(f *testing.F) {
	whole := append([]byte(ldMagic), make([]byte, ldHeaderSize-len(ldMagic)+ldEntrySize)...)
	binary.NativeEndian.PutUint32(whole[len(ldMagic):], 1)
	binary.NativeEndian.PutUint32(whole[ldHeaderSize+4:], uint32(len(whole)))
	binary.NativeEndian.PutUint32(whole[ldHeaderSize+8:], uint32(len(whole)+len(library)+1))
	whole = append(append(whole, library+"\x00"...), "/usr/lib/"+library+"\x00"...)
	if found, err := parseLDCache(whole, library); err != nil || len(found) != 1 {
		f.Fatalf("the seed is no cache: %v, %v", found, err)
	}
	older := append([]byte("ld.so-1.7.0\x00"), whole...)
	for _, seed := range [][]byte{nil, []byte(ldMagic), whole, whole[:len(whole)-4], older} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		found, err := parseLDCache(raw, library)
		if err != nil && found != nil {
			t.Errorf("%v besides %v", found, err)
		}
		for _, file := range found {
			if !path.IsAbs(file) {
				t.Errorf("%q is no absolute path", file)
			}
		}
	})
}
