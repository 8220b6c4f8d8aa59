package metadata_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"example.com/dragoman/pkg/metadata"
)

const driverName = "gpu.example.com"

// node has files of claims as the library writes them, and others.
type node struct{ data, cdi string }

func newNode(t *testing.T) node {
	t.Helper()
	n := node{filepath.Join(t.TempDir(), "plugin"), t.TempDir()}
	for _, c := range []metadata.Claim{train, serve} {
		n.write(t, filepath.Join(n.data, "dra-device-metadata", c.Namespace+"_"+c.Name, "gpu", "metadata.json"),
			`{"kind":"DeviceMetadata","metadata":{"uid":"`+string(c.UID)+`"}}`+"\n"+`{"metadata":{"uid":"of another version"}}`)
		n.write(t, n.spec(driverName+"_metadata_"+string(c.UID)+"_gpu.json"), "{}")
		n.write(t, n.spec("."+driverName+"_metadata_"+string(c.UID)+"_gpu.json.123.tmp"), "half")
	}
	n.write(t, n.spec("k8s."+driverName+"-gpu_1.json"), "ours, of the driver")
	n.write(t, n.spec("other.example.com_metadata_1_gpu.json"), "of another driver")
	n.write(t, filepath.Join(n.data, "dra.sock"), "")
	return n
}

var (
	train = metadata.Claim{Namespace: "team-a", Name: "train", UID: "1"}
	serve = metadata.Claim{Namespace: "team-a", Name: "serve", UID: "2"}
)

func (n node) spec(name string) string { return filepath.Join(n.cdi, name) }

func (n node) write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (n node) files() metadata.Files { return metadata.At(n.data, n.cdi, driverName) }

// left returns the names of what is there of claims: folders, and CDI files.
func (n node) left(t *testing.T) (left []string) {
	t.Helper()
	for _, dir := range []string{filepath.Join(n.data, "dra-device-metadata"), n.cdi} {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		for _, entry := range entries {
			left = append(left, entry.Name())
		}
	}
	slices.Sort(left)
	return left
}

// others are the files that are nobody's here.
var others = []string{"k8s." + driverName + "-gpu_1.json", "other.example.com_metadata_1_gpu.json"}

func ofClaim(c metadata.Claim) []string {
	spec := driverName + "_metadata_" + string(c.UID) + "_gpu.json"
	return []string{spec, "." + spec + ".123.tmp", c.Namespace + "_" + c.Name}
}

func sorted(parts ...[]string) []string {
	all := slices.Concat(parts...)
	slices.Sort(all)
	return all
}

func TestRemoveRemovesTheFilesOfOneClaim(t *testing.T) {
	n := newNode(t)
	for range 2 { // again is as well
		if err := n.files().Remove(train); err != nil {
			t.Error(err)
		}
	}
	if got, want := n.left(t), sorted(others, ofClaim(serve)); !slices.Equal(got, want) {
		t.Errorf("left %q, want %q", got, want)
	}
}

func TestRemoveLeavesTheFolderOfALaterClaimOfTheName(t *testing.T) {
	n := newNode(t)
	if err := n.files().Remove(metadata.Claim{Namespace: "team-a", Name: "train", UID: "0"}); err != nil {
		t.Error(err)
	}
	if got, want := n.left(t), sorted(others, ofClaim(train), ofClaim(serve)); !slices.Equal(got, want) {
		t.Errorf("left %q, want %q", got, want)
	}
}

func TestRemoveTakesAFolderThatWasNotFinished(t *testing.T) {
	n := newNode(t)
	if err := os.Remove(filepath.Join(n.data, "dra-device-metadata/team-a_train/gpu/metadata.json")); err != nil {
		t.Fatal(err)
	}
	if err := n.files().Remove(train); err != nil {
		t.Error(err)
	}
	if got := n.left(t); slices.Contains(got, "team-a_train") {
		t.Errorf("left %q", got)
	}
}

func TestSweep(t *testing.T) {
	corrupt := errors.New("the directory cannot be read")
	for name, tc := range map[string]struct {
		recorded []metadata.Claim
		err      error
		left     [][]string
		remains  bool
	}{
		"what nobody knows goes":   {nil, nil, nil, false},
		"what has a record stays":  {[]metadata.Claim{serve}, nil, [][]string{ofClaim(serve)}, true},
		"not knowing is no reason": {nil, corrupt, [][]string{ofClaim(train), ofClaim(serve)}, true},
		"all are known, nothing to do": {
			[]metadata.Claim{train, serve}, nil, [][]string{ofClaim(train), ofClaim(serve)}, true},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			remains, err := n.files().Sweep(func() ([]metadata.Claim, error) { return tc.recorded, tc.err })
			if remains != tc.remains || !errors.Is(err, tc.err) {
				t.Errorf("remains %t, %v", remains, err)
			}
			if got, want := n.left(t), sorted(append(tc.left, others)...); !slices.Equal(got, want) {
				t.Errorf("left %q, want %q", got, want)
			}
		})
	}
}

// TestSweepAsksForRecordsAfterItLooked: a claim that another process prepares meanwhile has files and a record.
func TestSweepAsksForRecordsAfterItLooked(t *testing.T) {
	n := newNode(t)
	late := metadata.Claim{Namespace: "team-a", Name: "late", UID: "3"}
	_, err := n.files().Sweep(func() ([]metadata.Claim, error) {
		n.write(t, n.spec(driverName+"_metadata_3_gpu.json"), "{}") // its record came after the list of records
		return []metadata.Claim{train, serve}, nil
	})
	if err != nil || !slices.Contains(n.left(t), driverName+"_metadata_3_gpu.json") {
		t.Errorf("the file of claim %v is gone: %q, %v", late, n.left(t), err)
	}
}

func TestANodeWithoutAnyIsNotAskedForItsRecords(t *testing.T) {
	n := node{t.TempDir(), filepath.Join(t.TempDir(), "missing")}
	remains, err := n.files().Sweep(func() ([]metadata.Claim, error) { panic("asked") })
	if remains || err != nil {
		t.Errorf("remains %t, %v", remains, err)
	}
}

func TestNamesFromOutsideLeadNowhere(t *testing.T) {
	n := newNode(t)
	err := n.files().Remove(metadata.Claim{Namespace: "..", Name: "/../../" + filepath.Base(n.data), UID: "9"})
	if _, gone := os.Stat(filepath.Join(n.data, "dra.sock")); gone != nil {
		t.Errorf("removed what is no file of a claim: %v (%v)", gone, err)
	}
	if err := n.files().Remove(metadata.Claim{UID: "*"}); err != nil && !strings.Contains(err.Error(), "name") {
		t.Error(err)
	}
	if got := len(n.left(t)); got < len(others)+5 {
		t.Errorf("left %q", n.left(t))
	}
}
