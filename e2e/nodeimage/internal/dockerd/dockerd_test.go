package dockerd

import (
	"encoding/json"
	"net/netip"
	"os"
	"slices"
	"testing"
)

func TestFreeSubnets(t *testing.T) {
	p := netip.MustParsePrefix
	everything := []netip.Prefix{p("172.16.0.0/12"), p("10.0.0.0/8")}
	for name, tc := range map[string]struct {
		used         []netip.Prefix
		bridge, pool string
	}{
		"nothing used":                {nil, "172.29.0.0/16", "172.30.0.0/16"},
		"the default route is no use": {[]netip.Prefix{p("0.0.0.0/0")}, "172.29.0.0/16", "172.30.0.0/16"},
		"an address inside":           {[]netip.Prefix{p("172.30.4.5/32")}, "172.29.0.0/16", "172.31.0.0/16"},
		"a private cloud network":     {[]netip.Prefix{p("172.16.0.0/12")}, "10.200.0.0/16", "10.201.0.0/16"},
		"everything":                  {everything, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			bridge, pool, err := freeSubnets(tc.used)
			if tc.bridge == "" {
				if err == nil {
					t.Errorf("got %v and %v, want an error", bridge, pool)
				}
				return
			}
			if err != nil || bridge.String() != tc.bridge || pool.String() != tc.pool {
				t.Errorf("got %v, %v, %v; want %s and %s", bridge, pool, err, tc.bridge, tc.pool)
			}
		})
	}
}

func TestRoutes(t *testing.T) {
	const table = `Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT
eth0	00000000	0101A8C0	0003	0	0	0	00000000	0	0	0
docker0	00001DAC	00000000	0001	0	0	0	0000FFFF	0	0	0
eth0	0001A8C0	00000000	0001	0	0	0	00FFFFFF	0	0	0
`
	var got []string
	for _, p := range routes(table) {
		got = append(got, p.String())
	}
	if want := []string{"0.0.0.0/0", "172.29.0.0/16", "192.168.1.0/24"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestDropCapability(t *testing.T) {
	const bundle = `{"process":{"rlimit":18446744073709551615,"capabilities":` +
		`{"bounding":["CAP_KILL","CAP_SYS_RESOURCE"],"effective":["CAP_SYS_RESOURCE"]}},"other":["CAP_SYS_RESOURCE"]}`
	out, err := dropCapability([]byte(bundle), "process", "capabilities")
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Process struct {
			Capabilities map[string][]string
			RLimit       json.Number
		}
		Other []string
	}
	if err := json.Unmarshal(out, &doc); err != nil {
		t.Fatal(err)
	}
	caps := doc.Process.Capabilities
	if !slices.Equal(caps["bounding"], []string{"CAP_KILL"}) || len(caps["effective"]) != 0 {
		t.Errorf("capabilities are %v", caps)
	}
	if doc.Process.RLimit != "18446744073709551615" || len(doc.Other) != 1 {
		t.Errorf("changed something else: %s", out)
	}

	for name, in := range map[string]string{
		"nothing to drop": `{"capabilities":{"bounding":["CAP_KILL"]}}`,
		"not there":       `{"args":["CAP_SYS_RESOURCE"]}`,
	} {
		if out, err := dropCapability([]byte(in), "capabilities"); out != nil || err != nil {
			t.Errorf("%s: got %s, %v; want no change", name, out, err)
		}
	}
	if _, err := dropCapability([]byte(`{"capabilities": CAP_SYS_RESOURCE`), "capabilities"); err == nil {
		t.Error("a broken request was taken")
	}
}

func TestAForeignProcessIsNotTakenForOurs(t *testing.T) {
	own := Own{Dir: t.TempDir()}
	for name, text := range map[string]string{"own process": "1\n", "no number": "x", "gone": "4194304"} {
		if err := os.WriteFile(own.pidFile(), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if pid := own.pid(); pid != 0 {
			t.Errorf("%s: process %d is said to be our dockerd", name, pid)
		}
	}
}
