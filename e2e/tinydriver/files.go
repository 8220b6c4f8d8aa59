package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/apimachinery/pkg/types"
	cdispecs "tags.cncf.io/container-device-interface/specs-go"
)

// load reads the claims that are prepared.
func (d *driver) load() (claims, error) {
	if d.broken == forgetsOnRestart {
		return d.memory, nil
	}
	known := claims{}
	text, err := os.ReadFile(filepath.Join(told("STATE_DIR"), stateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return known, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the claims: %w", err)
	}
	if err := json.Unmarshal(text, &known); err != nil {
		return nil, fmt.Errorf("read the claims: %w", err)
	}
	return known, nil
}

func (d *driver) save(known claims) error {
	if d.broken == forgetsOnRestart {
		return nil
	}
	return replace(filepath.Join(told("STATE_DIR"), stateFile), known)
}

func (d *driver) cdiKind() string { return d.name + "/" + cdiClass }

// cdiName has the claim's UID in it: a container runtime may remember what a name stood for.
func cdiName(uid types.UID, p prepared) string {
	name := string(uid) + "-" + p.Device
	if p.ShareID != nil {
		name += "-" + string(*p.ShareID)
	}
	return name
}

func (d *driver) cdiID(uid types.UID, p prepared) string { return d.cdiKind() + "=" + cdiName(uid, p) }

func (d *driver) cdiPath(uid types.UID) string {
	return filepath.Join(told("CDI_DIR"), d.name+"-"+string(uid)+".json")
}

func (d *driver) writeCDI(uid types.UID, all []prepared) error {
	spec := cdispecs.Spec{Version: "0.6.0", Kind: d.cdiKind()}
	for _, p := range all {
		variable := variablePrefix + strings.ToUpper(strings.ReplaceAll(p.Device, "-", "_"))
		env := []string{variable + "=" + string(uid)}
		if p.Colour != "" {
			env = append(env, variable+"_COLOUR="+p.Colour)
		}
		spec.Devices = append(spec.Devices, cdispecs.Device{
			Name: cdiName(uid, p), ContainerEdits: cdispecs.ContainerEdits{Env: env},
		})
	}
	return replace(d.cdiPath(uid), spec)
}

func (d *driver) removeCDI(uid types.UID) error {
	if err := os.Remove(d.cdiPath(uid)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the CDI file: %w", err)
	}
	return nil
}

// replace writes a file so that nobody ever sees half of it, and makes its directory if it was removed.
func replace(path string, content any) error {
	text, err := json.Marshal(content)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	temporary := path + ".tmp"
	if err := os.WriteFile(temporary, text, 0o600); err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", path, err), os.RemoveAll(temporary))
	}
	if err := os.Rename(temporary, path); err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", path, err), os.Remove(temporary))
	}
	return nil
}
