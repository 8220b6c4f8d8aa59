package dockerd

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// freeSubnets picks two /16 networks that nothing in used overlaps: one for Docker's bridge, one to cut networks from.
// Kubernetes' own default ranges for pods and services are kept clear as well.
func freeSubnets(used []netip.Prefix) (bridge, pool netip.Prefix, err error) {
	used = append(used, netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("10.96.0.0/16"))
	var free []netip.Prefix
	for _, candidate := range candidates() {
		if !overlapsAny(candidate, used) {
			free = append(free, candidate)
		}
		if len(free) == 2 {
			return free[0], free[1], nil
		}
	}
	return bridge, pool, fmt.Errorf("pick networks for Docker: all private ranges tried overlap with %v", used)
}

// candidates are private ranges; 172.29 and up first, because Docker's defaults elsewhere start from 172.17.
func candidates() []netip.Prefix {
	var list []netip.Prefix
	add := func(a, b byte) { list = append(list, netip.PrefixFrom(netip.AddrFrom4([4]byte{a, b}), 16)) }
	for b := byte(29); b <= 31; b++ {
		add(172, b)
	}
	for b := byte(28); b >= 16; b-- {
		add(172, b)
	}
	for b := byte(200); b <= 240; b++ {
		add(10, b)
	}
	return list
}

func overlapsAny(p netip.Prefix, used []netip.Prefix) bool {
	for _, u := range used {
		if u.Bits() > 0 && p.Overlaps(u) {
			return true
		}
	}
	return false
}

// usedSubnets lists the networks that the host has an address in or a route to, in the main table.
func usedSubnets() ([]netip.Prefix, error) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	var used []netip.Prefix
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			used = append(used, p)
		}
	}
	table, err := os.ReadFile("/proc/net/route")
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	return append(used, routes(string(table))...), nil
}

// routes reads /proc/net/route, whose addresses are hexadecimal numbers in the machine's (little-endian) order.
func routes(table string) []netip.Prefix {
	var list []netip.Prefix
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) < 8 {
			continue
		}
		dst, err1 := strconv.ParseUint(f[1], 16, 32)
		mask, err2 := strconv.ParseUint(f[7], 16, 32)
		if err1 != nil || err2 != nil {
			continue
		}
		var a [4]byte
		binary.LittleEndian.PutUint32(a[:], uint32(dst))
		list = append(list, netip.PrefixFrom(netip.AddrFrom4(a), bits.OnesCount64(mask)).Masked())
	}
	return list
}
