package cdi

import (
	"bytes"
	"encoding/json"

	"k8s.io/apimachinery/pkg/types"
)

// Says returns whether the claim's file is there and says what raw does, which an earlier Write returned. It changes
// nothing.
func (d *Dir) Says(claim types.UID, raw json.RawMessage) bool {
	if checkUID(claim) != nil {
		return false
	}
	content, err := layOut(raw)
	if err != nil {
		return false
	}
	there, err := d.files.Read(d.name(claim), specLimit)
	return err == nil && bytes.Equal(there, content)
}
