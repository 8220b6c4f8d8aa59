package checkpoint

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/types"
)

func TestClaimsAreToldByNamesOfFiles(t *testing.T) {
	dir := t.TempDir()
	s, err := open(dir, "boot")
	if err != nil {
		t.Fatal(err)
	}
	for _, uid := range []types.UID{"b", "a", "bad"} {
		if err := s.Put(&Record{Claim: Claim{UID: uid}, State: Prepared}); err != nil {
			t.Fatal(err)
		}
	}
	for _, uid := range []string{"bad", "a"} { // a is not looked at before it is counted
		if err := os.WriteFile(filepath.Join(dir, "claims", uid+".json"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Get("bad"); err == nil {
		t.Fatal("an empty record was read")
	}
	recorded, quarantined, err := s.Claims()
	if !slices.Equal(recorded, []types.UID{"a", "b"}) || !slices.Equal(quarantined, []types.UID{"bad"}) || err != nil {
		t.Errorf("recorded %v, quarantined %v, %v", recorded, quarantined, err)
	}
}
