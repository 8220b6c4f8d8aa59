// Package metadata removes what the DRA helper library writes for containers about their devices (device metadata,
// KEP-5304) and does not remove itself.
//
// The library writes two files for each request of a claim when it was prepared: what the container is to read, below
// the directory of the driver's sockets, and a CDI file that brings it into the container, beside ours. It removes them
// when the kubelet has the claim taken back, and then only. So they stay behind if the kubelet forgot the claim, if the
// process dies between taking back and removing, and if the feature is turned off in between.
//
// Nothing here removes a file of a claim that has a record: its containers need it when they start again.
package metadata

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"example.com/dragoman/pkg/dir"
)

const (
	// folder is where the library keeps what containers read: <folder>/<namespace>_<claim>/<request>/metadata.json.
	folder = "dra-device-metadata"
	file   = "metadata.json"
	// fileLimit is far above the largest of these files; what is larger is none of them.
	fileLimit = 16 << 20
	dirMode   = 0o755
)

// Claim names a claim: the library has its files by name, and its CDI files by UID.
type Claim struct {
	Namespace, Name string
	UID             types.UID
}

// Files are those of one driver on this node. All methods may be called concurrently, by several processes too.
type Files struct {
	claims, cdi dir.Dir
	prefix      string // of CDI files
}

// At returns the files of a driver whose sockets are in dataDir. It touches nothing yet.
func At(dataDir, cdiDir, driverName string) Files {
	return Files{claims: dir.At(filepath.Join(dataDir, folder), dirMode), cdi: dir.At(cdiDir, dirMode),
		prefix: driverName + "_metadata_"}
}

// Remove removes what is left of a claim that has no record any more. What is missing counts as removed.
func (f Files) Remove(c Claim) error {
	specs, err := f.specs()
	errs := []error{err}
	for file, uid := range specs {
		if uid == c.UID {
			errs = append(errs, f.cdi.Remove(file))
		}
	}
	name := folderOf(c)
	if there, err := f.isOf(name, c.UID); err != nil {
		errs = append(errs, err)
	} else if there {
		errs = append(errs, f.claims.RemoveAll(name))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remove device metadata of claim %s/%s: %w", c.Namespace, c.Name, err)
	}
	return nil
}

// Sweep removes what is there of claims without a record, and says whether there is anything of others. It asks for the
// records after it has looked: another process writes its files after its record.
func (f Files) Sweep(recorded func() ([]Claim, error)) (remains bool, err error) {
	specs, specsErr := f.specs()
	folders, foldersErr := f.claims.List()
	if len(specs) == 0 && len(folders) == 0 {
		return false, errors.Join(specsErr, foldersErr)
	}
	known, err := recorded()
	if err != nil {
		return true, err
	}
	uids, names := make(map[types.UID]bool, len(known)), make(map[string]bool, len(known))
	for _, c := range known {
		uids[c.UID], names[folderOf(c)] = true, true
	}
	errs := []error{specsErr, foldersErr}
	for file, uid := range specs {
		if remains = remains || uids[uid]; !uids[uid] {
			errs = append(errs, f.cdi.Remove(file))
		}
	}
	for _, entry := range folders {
		if known := names[entry.Name()]; known {
			remains = true
		} else {
			errs = append(errs, f.claims.RemoveAll(entry.Name()))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return true, fmt.Errorf("remove device metadata of claims that are not prepared: %w", err)
	}
	return remains, nil
}

func folderOf(c Claim) string { return c.Namespace + "_" + c.Name }

// specs returns the names of the CDI files with the claims that they are of, those included that a process did not
// finish.
func (f Files) specs() (map[string]types.UID, error) {
	entries, err := f.cdi.List()
	specs := make(map[string]types.UID)
	for _, entry := range entries {
		rest, ours := strings.CutPrefix(strings.TrimPrefix(entry.Name(), "."), f.prefix)
		if uid, _, found := strings.Cut(rest, "_"); ours && found {
			specs[entry.Name()] = types.UID(uid)
		}
	}
	return specs, err
}

// isOf says whether the folder has that name for that claim, and not for a later one. A folder in which nothing can be
// read is nobody's.
func (f Files) isOf(name string, uid types.UID) (bool, error) {
	if _, err := f.claims.Lstat(name); err != nil {
		return false, nil //nolint:nilerr // it is not there, or no name
	}
	requests, err := dir.At(f.claims.File(name), dirMode).List()
	if err != nil {
		return false, err
	}
	for _, request := range requests {
		raw, err := dir.At(f.claims.File(name)+"/"+request.Name(), dirMode).Read(file, fileLimit)
		if err != nil {
			continue
		}
		var first struct {
			Metadata struct {
				UID types.UID `json:"uid"`
			} `json:"metadata"`
		}
		if json.NewDecoder(bytes.NewReader(raw)).Decode(&first) == nil && first.Metadata.UID != uid {
			return false, nil
		}
	}
	return true, nil
}
