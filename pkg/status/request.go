package status

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"example.com/dragoman/pkg/device"
)

// maxFieldManager is how many bytes the API takes.
const maxFieldManager = 128

// written is what was written of a claim, or would have been.
type written int

const (
	wroteNothing written = iota
	wroteRemoval         // of all entries
	wroteEntries
)

// get returns nil if the claim does not exist.
func (w *Writer) get(ctx context.Context, c device.Claim) (*resourceapi.ResourceClaim, error) {
	found, err := w.o.Client.ResourceV1().ResourceClaims(c.Namespace).Get(ctx, c.Name, metav1.GetOptions{})
	switch {
	case isGone(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("get claim %s/%s: %w", c.Namespace, c.Name, err)
	}
	return found, nil
}

// apply has the status of a claim show these entries of ours and no others.
func (w *Writer) apply(
	ctx context.Context, c device.Claim, entries []resourceapi.AllocatedDeviceStatus,
) (written, error) {
	what := wroteRemoval
	if len(entries) > 0 {
		what = wroteEntries
	}
	is, err := w.o.Client.ResourceV1().ResourceClaims(c.Namespace).ApplyStatus(ctx, configuration(c, entries),
		metav1.ApplyOptions{FieldManager: fieldManager(w.o.DriverName, w.o.NodeName), Force: true})
	switch {
	case isGone(err), isReplaced(err):
		return wroteNothing, nil
	case err != nil:
		return what, fmt.Errorf("write the status of claim %s/%s: %w", c.Namespace, c.Name, err)
	}
	for _, e := range entries {
		if find(is.Status.Devices, keyOf(e)).Driver == "" {
			return what, errDropped
		}
	}
	return what, nil
}

// fieldManager is another one on each node: a claim may be allocated to one node after the other, and what a manager
// does not apply any more is removed. A name that is too long for the API ends in a hash of all of it.
func fieldManager(driver, node string) string {
	name := driver + "/" + node
	if len(name) <= maxFieldManager {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	hash := "-" + hex.EncodeToString(sum[:8])
	return name[:maxFieldManager-len(hash)] + hash
}
