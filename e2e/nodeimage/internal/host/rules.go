package host

import (
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"

	"example.com/dragoman/e2e/nodeimage/internal/steps"
)

// tables are the beginnings of the iptables calls for every table that some version of Docker writes to.
func tables() []string {
	var list []string
	for _, command := range []string{"iptables", "ip6tables"} {
		for _, table := range []string{"filter", "nat", "mangle", "raw"} {
			list = append(list, command+" -t "+table)
		}
	}
	return list
}

func tableCommand(ctx context.Context, table string, args ...string) *exec.Cmd {
	f := append(strings.Fields(table), args...)
	return steps.Command(ctx, f[0], f[1:]...)
}

// rules lists a table; one of IPv6 that cannot be listed is one that the kernel does not have.
func rules(ctx context.Context, table string) ([]string, error) {
	out, err := tableCommand(ctx, table, "-S").Output()
	if err != nil && strings.HasPrefix(table, "ip6") {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list rules with %s -S: %w", table, err)
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n"), nil
}

// undoRules lists the arguments of the iptables calls that take Docker's additions out of a table and set its policies
// back. Rules and chains of anyone else stay, also when they came after us.
func undoRules(before, now []string, networks []netip.Prefix) [][]string {
	var deletes, flushes, drops, policies [][]string
	ours := dockerRule(networks)
	for _, line := range now {
		if slices.Contains(before, line) {
			continue
		}
		f := strings.Fields(line)
		switch {
		case f[0] == "-N" && strings.HasPrefix(f[1], "DOCKER"):
			flushes = append(flushes, []string{"-F", f[1]})
			drops = append(drops, []string{"-X", f[1]})
		case f[0] == "-A" && !strings.HasPrefix(f[1], "DOCKER") && ours(f):
			deletes = append(deletes, append([]string{"-D"}, f[1:]...))
		}
	}
	for _, line := range before {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "-P" && !slices.Contains(now, line) {
			policies = append(policies, f)
		}
	}
	return slices.Concat(deletes, flushes, drops, policies)
}

// dockerRule recognises Docker's rules by the chains, bridges and networks they name.
func dockerRule(networks []netip.Prefix) func(fields []string) bool {
	return func(fields []string) bool {
		return slices.ContainsFunc(fields, func(f string) bool {
			if strings.HasPrefix(f, "DOCKER") || bridgeName(f) {
				return true
			}
			p, err := netip.ParsePrefix(f)
			return err == nil && slices.ContainsFunc(networks, func(n netip.Prefix) bool {
				return n.Bits() <= p.Bits() && n.Contains(p.Addr()) // a wider network is not ours alone
			})
		})
	}
}
