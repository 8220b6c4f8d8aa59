package prepare

import (
	"errors"

	"k8s.io/apimachinery/pkg/types"

	"example.com/dragoman/pkg/cdi"
	"example.com/dragoman/pkg/checkpoint"
	"example.com/dragoman/pkg/device"
)

// Recall returns what is remembered of one claim, and nil if nothing is. It takes no lock: a call that is in progress
// may be seen in the middle. An error is that of a record that cannot be read.
func (p *Preparer) Recall(uid types.UID) (*Remembered, error) {
	r, err := p.o.Records.Look(uid)
	if errors.Is(err, checkpoint.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	c := &Remembered{Claim: device.Claim(r.Claim), State: State(r.State)}
	for _, d := range r.Devices {
		known := remembered(d)
		known.CDIDeviceIDs = []string{p.o.CDI.ID(cdi.DeviceName(uid, d.Device, d.ShareID))}
		c.Devices = append(c.Devices, known)
	}
	return c, nil
}
