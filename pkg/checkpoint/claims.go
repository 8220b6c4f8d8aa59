package checkpoint

import (
	"slices"

	"k8s.io/apimachinery/pkg/types"
)

// Claims returns the claims that have a record, readable or not, ordered by UID. It looks at names of files only, and
// needs no lock.
func (s *Store) Claims() ([]types.UID, error) {
	entries, err := s.claims.List()
	if err != nil {
		return nil, s.explain("list records", err)
	}
	var claims []types.UID
	for _, entry := range entries {
		if uid, ok := between(entry.Name(), "", ".json"); ok {
			claims = append(claims, uid)
		}
	}
	slices.Sort(claims)
	return claims, nil
}
