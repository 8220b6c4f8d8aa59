package engine

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"example.com/dragoman/e2e/nodeimage/internal/steps"
)

// answerLimit is how long a registry may take to say that it has an image. The download itself may take long.
const answerLimit = 20 * time.Second

// Pull pulls an image. A registry that cannot be reached or lacks the image costs at most answerLimit.
func (e Engine) Pull(ctx context.Context, log *steps.Log, ref string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := time.AfterFunc(answerLimit, func() {
		cancel(fmt.Errorf("no registry answered within %v", answerLimit))
	})
	defer timer.Stop()
	cmd := e.Command(ctx, "docker", "pull", ref)
	reader, writer := io.Pipe()
	cmd.Stdout, cmd.Stderr = writer, writer
	last := make(chan string, 1)
	go func() {
		line := ""
		for lines := bufio.NewScanner(reader); lines.Scan(); {
			line = lines.Text()
			log.Printf("%s", line)
			if strings.Contains(line, "Pulling from") { // it has the image
				timer.Stop()
			}
		}
		last <- line
	}()
	err := log.Run(cmd)
	_ = writer.Close() // a pipe in memory
	line := <-last
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	if err != nil {
		return errors.New(line)
	}
	return nil
}

// KindClusters lists the kind clusters that have containers in this engine, each name as often as it has nodes.
func (e Engine) KindClusters(ctx context.Context) ([]string, error) {
	const label = "io.x-k8s.kind.cluster"
	out, err := e.Command(ctx, "docker", "ps", "--all", "--filter", "label="+label,
		"--format", `{{.Label "`+label+`"}}`).Output()
	if err != nil {
		return nil, fmt.Errorf("list kind clusters: %w", err)
	}
	return strings.Fields(string(out)), nil
}

// RemoveNetwork removes a network if the engine has it.
func (e Engine) RemoveNetwork(ctx context.Context, log *steps.Log, name string) error {
	if !e.HasNetwork(ctx, name) {
		return nil
	}
	return log.Run(e.Command(ctx, "docker", "network", "rm", name))
}
