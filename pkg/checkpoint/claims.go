package checkpoint

import (
	"slices"

	"k8s.io/apimachinery/pkg/types"
)

// Claims returns the claims that have a record, which may be unreadable, and those of which only an unreadable record
// in quarantine is left, both ordered by UID. It looks at names of files only, and needs no lock.
func (s *Store) Claims() (recorded, quarantined []types.UID, err error) {
	entries, err := s.claims.List()
	if err != nil {
		return nil, nil, s.explain("list records", err)
	}
	for _, entry := range entries {
		if uid, ok := between(entry.Name(), "", ".json"); ok {
			recorded = append(recorded, uid)
		}
	}
	quarantined, err = s.inQuarantine()
	slices.Sort(recorded)
	slices.Sort(quarantined)
	return recorded, quarantined, err
}
