//go:build cgo

package nvml

import (
	"fmt"
	"sync"
)

// warner tells of each problem once.
type warner struct {
	warn func(msg string, kv ...any)
	mu   sync.Mutex
	said map[string]bool
}

// warnOnce tells of a problem that was not told of before.
func (w *warner) warnOnce(msg string, kv ...any) {
	key := msg + fmt.Sprint(kv...)
	w.mu.Lock()
	known := w.said[key]
	w.said[key] = true
	w.mu.Unlock()
	if !known {
		w.warn(msg, kv...)
	}
}
