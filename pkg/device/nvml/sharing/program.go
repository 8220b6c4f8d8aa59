//go:build cgo

package sharing

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// patience is how long a program may take that answers at once on a healthy node.
const patience = 10 * time.Second

// answer runs a program and returns what it wrote. A program that hangs in the kernel, where no signal reaches it, is
// given up when the time is over.
func answer(ctx context.Context, limit time.Duration, program *exec.Cmd) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var output bytes.Buffer
	program.Stdout, program.Stderr = &output, &output
	if err := program.Start(); err != nil {
		return "", err
	}
	ended := make(chan error, 1)
	go func() { ended <- program.Wait() }()
	select {
	case err := <-ended:
		text := strings.TrimSpace(output.String())
		if err != nil && text != "" {
			err = fmt.Errorf("%w: %s", err, brief(text))
		}
		return text, err
	case <-ctx.Done():
		_ = program.Process.Kill()
		return "", fmt.Errorf("no answer within %s: %w", limit, ctx.Err())
	}
}

// brief cuts what a program wrote to what an event can hold.
func brief(text string) string {
	const most = 300
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > most {
		text = "…" + strings.ToValidUTF8(text[len(text)-most:], "")
	}
	return text
}
