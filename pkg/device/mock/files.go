package mock

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"syscall"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"

	"example.com/dragoman/pkg/device"
	"example.com/dragoman/pkg/dir"
)

// The files of the backend are <Dir>/<claim UID>/<device>[.<share ID>].json; device names have no dots. They are only
// ever touched through package dir, so that nothing leads out of their directory.

// temporary ends the name of a file that is being written. One caller at a time writes for a claim, so the name is
// always the same, and a process that died leaves nothing that the next one does not find.
const temporary = ".tmp"

// Containers of any user read the files.
const forAllToEnter, forAllToRead = 0o755, 0o644

// uidPattern is what may become a part of the name of a file.
var uidPattern = regexp.MustCompile(`^[0-9a-zA-Z-]{1,64}$`)

func nameable(claim types.UID, share *types.UID) bool {
	return uidPattern.MatchString(string(claim)) && (share == nil || uidPattern.MatchString(string(*share)))
}

// fileOf returns the path below Dir of what describes a device to the containers of a claim.
func fileOf(claim types.UID, result resourceapi.DeviceRequestAllocationResult) string {
	name := result.Device
	if result.ShareID != nil {
		name += "." + string(*result.ShareID)
	}
	return path.Join(string(claim), name+".json")
}

// filesOf returns what Prepare may have written for a grant: what it remembered, and what it would write now. Paths
// that are not directly in the claim's directory are none of ours.
func filesOf(g device.Grant) []string {
	var remembered undo
	if err := json.Unmarshal(g.Undo, &remembered); err != nil {
		remembered = undo{} // none, or not ours: what it would write now is the same
	}
	files := []string{}
	for _, file := range remembered.Files {
		if dir, name := path.Split(file); dir == string(g.Claim.UID)+"/" && filepath.IsLocal(name) && name != "." {
			files = append(files, file)
		}
	}
	if nameable(g.Claim.UID, g.Result.ShareID) && len(validation.IsDNS1123Label(g.Result.Device)) == 0 {
		if file := fileOf(g.Claim.UID, g.Result); !slices.Contains(files, file) {
			files = append(files, file)
		}
	}
	return files
}

// write makes the file, readable for everybody. A file that is already right is left alone.
func (b *Backend) write(file string, content []byte) error {
	folder, name := b.folderOf(file)
	if there, err := folder.Read(name, int64(len(content))+1); err == nil && bytes.Equal(there, content) {
		return nil
	}
	err := folder.Replace(name, name+temporary, content, forAllToRead)
	if errors.Is(err, fs.ErrNotExist) {
		if err = folder.Make(); err == nil {
			err = folder.Replace(name, name+temporary, content, forAllToRead)
		}
	}
	return err
}

// remove removes the file and, if it was the last one, the directory of the claim.
func (b *Backend) remove(file string) error {
	folder, name := b.folderOf(file)
	for _, name := range []string{name, name + temporary} {
		if err := folder.Remove(name); err != nil {
			return err
		}
	}
	err := dir.At(b.options.Dir, forAllToEnter).Remove(folder.Name())
	if errors.Is(err, syscall.ENOTEMPTY) {
		return nil
	}
	return err
}

// folderOf returns the directory of the claim to which a file belongs, and the name of the file in it.
func (b *Backend) folderOf(file string) (dir.Dir, string) {
	folder, name := path.Split(file)
	return dir.At(filepath.Join(b.options.Dir, folder), forAllToEnter), name
}

// Sweep removes the directories of claims that are not known. What does not look like one of them stays.
func (b *Backend) Sweep(ctx context.Context, known func(claim types.UID) bool) error {
	files := dir.At(b.options.Dir, forAllToEnter)
	entries, err := files.List()
	if err != nil {
		return fmt.Errorf("sweep %s: %w", b.options.Dir, err)
	}
	var problems []error
	for _, entry := range entries {
		if err := ctx.Err(); err != nil {
			return errors.Join(append(problems, err)...)
		}
		name := entry.Name()
		if !entry.IsDir() || !uidPattern.MatchString(name) || known(types.UID(name)) {
			continue
		}
		if err := files.RemoveAll(name); err != nil {
			problems = append(problems, fmt.Errorf("sweep %s: %w", b.options.Dir, err))
		}
	}
	return errors.Join(problems...)
}

// inContainer is the name of a device inside of a container. Each share has one of its own, also beside those that the
// container has by another claim.
func inContainer(
	all []resourceapi.DeviceRequestAllocationResult, result resourceapi.DeviceRequestAllocationResult,
) string {
	if share := device.ShareLabel(all, result); share != "" {
		return result.Device + "-" + share
	}
	return result.Device
}
