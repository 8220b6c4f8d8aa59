package mounts

import (
	"slices"
	"testing"
)

func TestPointsListsTheInnermostFirst(t *testing.T) {
	const mountinfo = `22 1 254:0 / / rw - ext4 /dev/vda rw
30 22 0:21 / /cache/tree/proc rw - proc proc rw
31 30 0:22 / /cache/tree/proc/sys/fs/binfmt_misc rw - binfmt_misc none rw
32 22 0:23 / /cache/tree2/proc rw - proc proc rw
33 22 254:0 /cache/tree /cache/tree rw - ext4 /dev/vda rw
`
	want := []string{"/cache/tree/proc/sys/fs/binfmt_misc", "/cache/tree/proc", "/cache/tree"}
	if got := points(mountinfo, "/cache/tree"); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
