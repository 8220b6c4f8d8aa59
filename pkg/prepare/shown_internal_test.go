package prepare

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	resourceapi "k8s.io/api/resource/v1"

	"example.com/dragoman/pkg/device"
)

func addresses(n int) (ips []string) {
	for i := range n {
		ips = append(ips, fmt.Sprintf("10.1.0.%d/24", i))
	}
	return ips
}

func TestWhatTheAPIWouldRefuseIsNotShown(t *testing.T) {
	object := func(bytes int) json.RawMessage {
		return json.RawMessage(`{"a":"` + strings.Repeat("x", bytes-8) + `"}`)
	}
	good := &resourceapi.NetworkDeviceData{InterfaceName: "net0", IPs: addresses(16), HardwareAddress: "02:00:00:00:00:01"}
	many, twice, noPrefix, longName, longAddress :=
		good.DeepCopy(), good.DeepCopy(), good.DeepCopy(), good.DeepCopy(), good.DeepCopy()
	many.IPs, twice.IPs[1], noPrefix.IPs = addresses(17), twice.IPs[0], []string{"10.1.0.1"}
	longName.InterfaceName, longAddress.HardwareAddress = strings.Repeat("x", 257), strings.Repeat("x", 129)
	for name, tc := range map[string]struct {
		network *resourceapi.NetworkDeviceData
		data    json.RawMessage
		keeps   string // "network", "data", both or none
		problem string
	}{
		"nothing":         {nil, nil, "", ""},
		"both":            {good, object(10 << 10), "network data", ""},
		"too much data":   {good, object(10<<10 + 1), "network", "10241 bytes"},
		"a list":          {nil, json.RawMessage(`[1]`), "", "no JSON object"},
		"null":            {nil, json.RawMessage(`null`), "", "no JSON object"},
		"half an object":  {nil, json.RawMessage(`{"a":`), "", "no JSON object"},
		"17 addresses":    {many, object(20), "data", "17 addresses"},
		"one twice":       {twice, nil, "", "10.1.0.0/24 is there twice"},
		"no prefix":       {noPrefix, nil, "", "ips[0]"},
		"a long name":     {longName, nil, "", "interfaceName has 257 bytes"},
		"a long address":  {longAddress, nil, "", "hardwareAddress has 129 bytes"},
		"both are no use": {many, json.RawMessage(`1`), "", "its data: it is no JSON object"},
	} {
		t.Run(name, func(t *testing.T) {
			keep, problem := acceptable(device.Grant{Network: tc.network, Data: tc.data})
			var keeps []string
			if keep.Network != nil {
				keeps = append(keeps, "network")
			}
			if keep.Data != nil {
				keeps = append(keeps, "data")
			}
			if got := strings.Join(keeps, " "); got != tc.keeps {
				t.Errorf("keeps %q, want %q", got, tc.keeps)
			}
			if (problem == nil) != (tc.problem == "") || problem != nil && !strings.Contains(problem.Error(), tc.problem) {
				t.Errorf("the problem is %v, want %q", problem, tc.problem)
			}
		})
	}
}
