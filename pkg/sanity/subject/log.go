package subject

import (
	"bytes"
	"io"
	"sync"
)

// kept is how much of a driver's output is kept in memory.
const kept = 1 << 20

// log keeps the end of what a process says.
type log struct {
	also io.Writer

	mutex sync.Mutex
	text  []byte
}

func (l *log) Write(p []byte) (int, error) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if l.also != nil {
		_, _ = l.also.Write(p) // what cannot be shown is kept all the same
	}
	l.text = append(l.text, p...)
	if len(l.text) > 2*kept {
		l.text = bytes.Clone(l.text[len(l.text)-kept:])
	}
	return len(p), nil
}

// tail returns the last lines, at most limit bytes.
func (l *log) tail(limit int) string {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	text := l.text
	if len(text) > limit {
		text = text[len(text)-limit:]
		if newline := bytes.IndexByte(text, '\n'); newline >= 0 {
			text = text[newline+1:]
		}
	}
	return string(text)
}
