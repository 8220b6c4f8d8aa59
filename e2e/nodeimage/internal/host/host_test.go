package host

import (
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
)

func networks() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("172.29.0.1/16"), netip.MustParsePrefix("172.30.0.0/16")}
}

// The files of testdata are what "iptables -S" printed while Docker 20.10 ran two kind clusters.
func ruleFile(t *testing.T, table string) []string {
	t.Helper()
	text, err := os.ReadFile("testdata/" + table + ".rules")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(text)), "\n")
}

// apply plays iptables: it applies calls to a list of rules and refuses what iptables would refuse.
func apply(t *testing.T, rules []string, calls [][]string) []string {
	t.Helper()
	rules = slices.Clone(rules)
	remove := func(match func(string) bool) int {
		before := len(rules)
		rules = slices.DeleteFunc(rules, match)
		return before - len(rules)
	}
	for _, c := range calls {
		switch chain := c[1]; c[0] {
		case "-D":
			rule := "-A " + strings.Join(c[1:], " ")
			if remove(func(r string) bool { return r == rule }) == 0 {
				t.Errorf("%v: there is no such rule", c)
			}
		case "-F":
			remove(func(r string) bool { return strings.HasPrefix(r, "-A "+chain+" ") })
		case "-X":
			if slices.ContainsFunc(rules, func(r string) bool {
				return strings.HasPrefix(r, "-A "+chain+" ") || strings.HasSuffix(r, "-j "+chain)
			}) {
				t.Errorf("%v: chain is not empty or still used", c)
			}
			remove(func(r string) bool { return r == "-N "+chain })
		case "-P":
			remove(func(r string) bool { return strings.HasPrefix(r, "-P "+chain+" ") })
			rules = append(rules, strings.Join(c, " "))
		}
	}
	slices.Sort(rules)
	return rules
}

func TestUndoRulesLeavesTheTableAsItWas(t *testing.T) {
	for table, before := range map[string][]string{
		"filter": {"-P INPUT ACCEPT", "-P FORWARD DROP", "-P OUTPUT ACCEPT"},
		"nat":    {"-P PREROUTING ACCEPT", "-P INPUT ACCEPT", "-P OUTPUT ACCEPT", "-P POSTROUTING ACCEPT"},
	} {
		t.Run(table, func(t *testing.T) {
			now := ruleFile(t, table)
			got := apply(t, now, undoRules(before, now, networks()))
			slices.Sort(before)
			if !slices.Equal(got, before) {
				t.Errorf("left is\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(before, "\n"))
			}
		})
	}
}

func TestUndoRulesLeavesOthersRules(t *testing.T) {
	others := []string{
		"-P INPUT ACCEPT", "-P FORWARD ACCEPT", "-P OUTPUT ACCEPT", "-N VPN",
		"-A FORWARD -s 10.8.0.0/24 -j ACCEPT",
		"-A FORWARD -i br-lan -j ACCEPT",
		"-A FORWARD -d 172.16.0.0/12 -j ACCEPT",
		"-A VPN -s 192.168.7.0/24 -j DROP",
	}
	now := slices.Concat(ruleFile(t, "filter"), others[3:])
	for name, before := range map[string][]string{"there before us": others, "came after us": others[:3]} {
		t.Run(name, func(t *testing.T) {
			got := apply(t, now, undoRules(before, now, networks()))
			want := slices.Sorted(slices.Values(others))
			if !slices.Equal(got, want) {
				t.Errorf("left is\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		})
	}
}

func TestLeftLinks(t *testing.T) {
	now := []string{"lo", "eth0", "docker0", "br-58faa97eeaec", "br-0123456789ab", "br-lan", "bridge0",
		"vetha7075d0", "veth0000001", "veth-vpn", "veth0000002"}
	before := []string{"lo", "eth0", "br-0123456789ab", "veth0000002"}
	got := leftLinks(before, now, func(l string) bool { return l == "veth0000001" })
	if !slices.Equal(got, []string{"docker0", "br-58faa97eeaec", "vetha7075d0"}) {
		t.Errorf("got %v", got)
	}
}
