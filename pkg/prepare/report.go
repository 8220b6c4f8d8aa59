package prepare

import (
	"errors"
	"sync"

	"example.com/dragoman/pkg/checkpoint"
	"example.com/dragoman/pkg/device"
)

// toldLimit bounds what is remembered of problems. Above it some are told again.
const toldLimit = 1000

// told is which problems were reported. Nothing depends on it but that nobody has to read the same twice.
type told struct {
	mu    sync.Mutex
	texts map[string]bool
}

func (t *told) isNew(text string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.texts == nil || len(t.texts) >= toldLimit {
		t.texts = make(map[string]bool)
	}
	known := t.texts[text]
	t.texts[text] = true
	return !known
}

// reportOnce tells of a problem that lasts, the first time that this process meets it.
func (p *Preparer) reportOnce(c checkpoint.Claim, problem error) {
	text := problem.Error()
	var corrupt *checkpoint.CorruptError
	if errors.As(problem, &corrupt) && corrupt.QuarantinedTo != "" {
		text = corrupt.QuarantinedTo // why it was moved is known the first time only
	}
	if p.o.Report != nil && p.told.isNew(string(c.UID)+" "+text) {
		p.o.Report(device.Claim(c), problem)
	}
}

func (p *Preparer) reconciled(c checkpoint.Claim, did Action) {
	if p.o.Reconciled != nil {
		p.o.Reconciled(device.Claim(c), did)
	}
}
