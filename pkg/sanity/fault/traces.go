package fault

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"example.com/dragoman/pkg/sanity/suite"
)

// files lists the driver's files, without sockets.
func (r *rig) files() ([]string, error) {
	var all []string
	dirs := append([]string{r.Dirs.CDI, r.Dirs.Plugin}, r.Dirs.Leftovers...)
	if r.Dirs.State != "" {
		dirs = append(dirs, r.Dirs.State)
	}
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) { // it is gone meanwhile
				return nil
			}
			if err == nil && !entry.IsDir() && entry.Type()&fs.ModeSocket == 0 && entry.Name() != filler {
				all = append(all, path)
			}
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("list the driver's files: %w", err)
		}
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// baseline returns the files that are there when nothing is prepared. A driver may make some with its first claim, so
// one is prepared and unprepared before.
func (r *rig) baseline(t *suite.T) []string {
	plugin := r.Registered(t)
	claim := r.Exclusive(t, "first", 1)
	r.Prepare(t, plugin, claim)
	r.Unprepare(t, plugin, claim)
	files, err := r.files()
	t.Must(err, "look for the driver's files")
	return files
}

// nothingNew checks that no file has come to the baseline.
func (r *rig) nothingNew(t *suite.T, baseline []string) {
	files, err := r.files()
	t.Must(err, "look for the driver's files")
	if added := without(files, baseline); len(added) > 0 {
		t.Errorf("no claim is prepared, and these files are left: %s", strings.Join(added, ", "))
	}
}

func without(files, known []string) []string {
	return slices.DeleteFunc(slices.Clone(files), func(f string) bool { return slices.Contains(known, f) })
}
