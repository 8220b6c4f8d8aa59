package dockerd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"example.com/dragoman/e2e/nodeimage/internal/cache"
	"example.com/dragoman/e2e/nodeimage/internal/host"
	"example.com/dragoman/e2e/nodeimage/internal/steps"
)

// before is what has to be known to start the engine a second time, and to take it away.
type before struct {
	host.State
	Bridge netip.Prefix // address and size of Docker's own bridge; another one would not fit the bridge that is there
	Pool   netip.Prefix // other networks are cut from it
}

func (o Own) beforeFile() string { return filepath.Join(o.Dir, "before.json") }

func (o Own) readBefore() (before, error) {
	var b before
	text, err := os.ReadFile(o.beforeFile())
	if err != nil {
		return b, err
	}
	return b, json.Unmarshal(text, &b)
}

// remember notes what the host is like, unless that was noted since the machine booted: then an engine of ours has been
// here and what we would see now is its work.
func (o Own) remember(ctx context.Context) (before, error) {
	if b, err := o.readBefore(); err == nil && b.ThisBoot() {
		return b, nil
	}
	state, err := host.Look(ctx)
	if err != nil {
		return before{}, err
	}
	if slices.Contains(state.Links, "docker0") {
		return before{}, steps.Advise(
			errors.New("the bridge docker0 is there: another Docker runs, or ran, on this host"),
			"Start that Docker, or set DOCKER_HOST to it, and it will be used. If it is gone: ip link delete docker0")
	}
	used, err := usedSubnets()
	if err != nil {
		return before{}, err
	}
	bridge, pool, err := freeSubnets(used)
	if err != nil {
		return before{}, err
	}
	b := before{State: state, Bridge: netip.PrefixFrom(bridge.Addr().Next(), bridge.Bits()), Pool: pool}
	return b, cache.Write(o.beforeFile(), 0o644, func(w io.Writer) error { return json.NewEncoder(w).Encode(b) })
}

// restore undoes what the engine did to the host, and only forgets what that was like when all of it succeeded.
func (o Own) restore(ctx context.Context, log *steps.Log) error {
	b, err := o.readBefore()
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read what the host was like: %w", err)
	}
	if err := b.Restore(ctx, log, []netip.Prefix{b.Bridge, b.Pool}); err != nil {
		return fmt.Errorf("restore the host: %w", err)
	}
	return os.Remove(o.beforeFile())
}
