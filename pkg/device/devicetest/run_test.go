package devicetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	cdispecs "tags.cncf.io/container-device-interface/specs-go"

	gpuv1alpha1 "example.com/dragoman/api/gpu/v1alpha1"
	"example.com/dragoman/pkg/device"
)

// fake keeps every promise, except for those that a test takes from it.
type fake struct {
	mu       sync.Mutex
	prepared map[types.UID]int

	devices   func(call int) []device.Device
	counters  []resourceapi.CounterSet
	calls     int
	prepare   func(f *fake, r device.Request) ([]device.Grant, error)
	unprepare func(f *fake, g device.Grant) error
	sweep     func(f *fake)
	watch     func(ctx context.Context) error
}

func newFake() *fake {
	return &fake{
		prepared: map[types.UID]int{},
		devices: func(int) []device.Device {
			hot := device.Health{Unhealthy: true, Reason: "It is hot."}
			return []device.Device{
				{Device: resourceapi.Device{Name: "gpu-0", Attributes: attributes("model", "A")}},
				{Device: resourceapi.Device{Name: "gpu-1"}, Health: hot},
			}
		},
		prepare:   (*fake).grant,
		unprepare: func(*fake, device.Grant) error { return nil },
		sweep:     func(*fake) {},
		watch:     func(ctx context.Context) error { <-ctx.Done(); return nil },
	}
}

type attributeMap = map[resourceapi.QualifiedName]resourceapi.DeviceAttribute

func attributes(name resourceapi.QualifiedName, value string) attributeMap {
	return attributeMap{name: {StringValue: &value}}
}

func (f *fake) grant(r device.Request) ([]device.Grant, error) {
	var grants []device.Grant
	for i, result := range r.Devices {
		if !strings.HasPrefix(result.Device, "gpu-") {
			return nil, fmt.Errorf("no device %s", result.Device)
		}
		undo := json.RawMessage(`{"n":1}`)
		if err := r.Remember(i, undo); err != nil {
			return nil, fmt.Errorf("remember: %w", err)
		}
		grants = append(grants, device.Grant{
			Claim: r.Claim, Result: result, Undo: undo,
			Edits: &cdispecs.ContainerEdits{Env: []string{"GPU=" + result.Device}},
		})
	}
	return grants, nil
}

func (f *fake) Devices(context.Context) (device.Snapshot, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	return device.Snapshot{Devices: f.devices(f.calls), SharedCounters: f.counters}, nil
}

func (f *fake) Prepare(_ context.Context, r device.Request) ([]device.Grant, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	grants, err := f.prepare(f, r)
	f.prepared[r.Claim.UID]++
	return grants, err
}

func (f *fake) Unprepare(_ context.Context, g device.Grant) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.unprepare(f, g)
}

func (f *fake) Sweep(context.Context, func(types.UID) bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sweep(f)
	return nil
}

func (f *fake) Watch(ctx context.Context, _ func()) error { return f.watch(ctx) }

func TestRunPasses(t *testing.T) {
	Run(t, func(*testing.T) device.Backend { return newFake() }, gpuv1alpha1.Default())
}

func set(name string, n int64) resourceapi.CounterSet {
	value := *resource.NewQuantity(n, resource.DecimalSI)
	return resourceapi.CounterSet{Name: name, Counters: map[string]resourceapi.Counter{"slices": {Value: value}}}
}

func consumption(name string, n int64) []resourceapi.DeviceCounterConsumption {
	return []resourceapi.DeviceCounterConsumption{{CounterSet: name, Counters: set(name, n).Counters}}
}

func TestOnlyDevicesThatFitTogetherAreAskedFor(t *testing.T) {
	snapshot := device.Snapshot{SharedCounters: []resourceapi.CounterSet{set("a", 2), set("b", 2)}}
	for _, whole := range []string{"a", "b"} {
		d := resourceapi.Device{Name: whole, ConsumesCounters: consumption(whole, 2)}
		snapshot.Devices = append(snapshot.Devices, device.Device{Device: d})
		for n := range 3 {
			d := resourceapi.Device{Name: fmt.Sprintf("%s-%d", whole, n), ConsumesCounters: consumption(whole, 1)}
			snapshot.Devices = append(snapshot.Devices, device.Device{Device: d, PartOf: whole})
		}
	}
	snapshot.Devices = append(snapshot.Devices, device.Device{Device: resourceapi.Device{Name: "c"}})
	if got, want := fitting(snapshot), []string{"a-0", "a-1", "b", "c"}; !slices.Equal(got, want) {
		t.Errorf("%v instead of %v", got, want)
	}
}

func edit(change func(*device.Grant)) func(*fake, device.Request) ([]device.Grant, error) {
	return func(f *fake, r device.Request) ([]device.Grant, error) {
		grants, err := f.grant(r)
		for i := range grants {
			change(&grants[i])
		}
		return grants, err
	}
}

// one changes the fake's devices to one that is changed.
func one(change func(d *resourceapi.Device)) func(f *fake) {
	return func(f *fake) {
		f.devices = func(int) []device.Device {
			d := resourceapi.Device{Name: "gpu-0"}
			change(&d)
			return []device.Device{{Device: d}}
		}
	}
}

func TestRunFails(t *testing.T) {
	for name, broken := range map[string]struct {
		change func(f *fake)
		want   string // part of the name of a check that has to find it
	}{
		"a name that is no DNS label": {func(f *fake) {
			f.devices = func(int) []device.Device {
				return []device.Device{{Device: resourceapi.Device{Name: "GPU_0"}}}
			}
		}, "unique names"},
		"two devices of one name": {func(f *fake) {
			d := device.Device{Device: resourceapi.Device{Name: "gpu-0"}}
			f.devices = func(int) []device.Device { return []device.Device{d, d} }
		}, "unique names"},
		"an attribute that is too long": {func(f *fake) {
			f.devices = func(int) []device.Device {
				long := attributes("model", strings.Repeat("x", 65))
				return []device.Device{{Device: resourceapi.Device{Name: "gpu-0", Attributes: long}}}
			}
		}, "unique names"},
		"an attribute with a dash in its name": {func(f *fake) {
			f.devices = func(int) []device.Device {
				return []device.Device{{Device: resourceapi.Device{Name: "gpu-0", Attributes: attributes("a-b", "")}}}
			}
		}, "unique names"},
		"a counter set that is not there": {func(f *fake) {
			f.devices = func(int) []device.Device {
				consumes := []resourceapi.DeviceCounterConsumption{{CounterSet: "none"}}
				return []device.Device{{Device: resourceapi.Device{Name: "gpu-0", ConsumesCounters: consumes}}}
			}
		}, "unique names"},
		"a counter that its set does not have": {func(f *fake) {
			f.devices = func(int) []device.Device {
				consumes := []resourceapi.DeviceCounterConsumption{
					{CounterSet: "set", Counters: map[string]resourceapi.Counter{"other": {}}},
				}
				return []device.Device{{Device: resourceapi.Device{Name: "gpu-0", ConsumesCounters: consumes}}}
			}
			f.counters = []resourceapi.CounterSet{set("set", 1)}
		}, "unique names"},
		"a counter set without counters": {func(f *fake) {
			f.counters = []resourceapi.CounterSet{{Name: "set"}}
		}, "unique names"},
		"a part of a part": {func(f *fake) {
			f.devices = func(int) []device.Device {
				return []device.Device{
					{Device: resourceapi.Device{Name: "gpu-0"}, PartOf: "gpu-1"},
					{Device: resourceapi.Device{Name: "gpu-1"}, PartOf: "gpu-2"},
				}
			}
		}, "unique names"},
		"a part of itself": {func(f *fake) {
			f.devices = func(int) []device.Device {
				return []device.Device{{Device: resourceapi.Device{Name: "gpu-0"}, PartOf: "gpu-0"}}
			}
		}, "unique names"},
		"too many binding conditions": {one(func(d *resourceapi.Device) {
			d.BindingConditions = []string{"a", "b", "c", "d", "e"}
		}), "unique names"},
		"binding that can only fail": {one(func(d *resourceapi.Device) {
			d.BindingFailureConditions = []string{"a"}
		}), "unique names"},
		"too many taints": {one(func(d *resourceapi.Device) {
			d.Taints = make([]resourceapi.DeviceTaint, 17)
		}), "unique names"},
		"a request policy of a device for one claim": {one(func(d *resourceapi.Device) {
			d.Capacity = map[resourceapi.QualifiedName]resourceapi.DeviceCapacity{
				"memory": {RequestPolicy: &resourceapi.CapacityRequestPolicy{}},
			}
		}), "unique names"},
		"shares that are the same": {one(func(d *resourceapi.Device) {
			d.AllowMultipleAllocations = new(true)
		}), "told apart"},
		"shares that contradict each other": {func(f *fake) {
			one(func(d *resourceapi.Device) { d.AllowMultipleAllocations = new(true) })(f)
			f.prepare = edit(func(g *device.Grant) {
				if g.Result.ShareID != nil {
					g.Edits.Env = append(g.Edits.Env, "SHARE="+string(*g.Result.ShareID))
				}
			})
		}, "told apart"},
		"shares with one file": {func(f *fake) {
			one(func(d *resourceapi.Device) { d.AllowMultipleAllocations = new(true) })(f)
			f.prepare = edit(func(g *device.Grant) {
				if g.Result.ShareID != nil {
					host := "/host/" + string(*g.Result.ShareID)
					g.Edits.Mounts = []*cdispecs.Mount{{HostPath: host, ContainerPath: "/file"}}
				}
			})
		}, "told apart"},
		"data that is no object": {func(f *fake) {
			f.prepare = edit(func(g *device.Grant) { g.Data = json.RawMessage(`[]`) })
		}, "order of the request"},
		"more data than the API server accepts": {func(f *fake) {
			f.prepare = edit(func(g *device.Grant) {
				g.Data = json.RawMessage(`{"a":"` + strings.Repeat("x", 10*1024) + `"}`)
			})
		}, "order of the request"},
		"an address without the length of its network": {func(f *fake) {
			f.prepare = edit(func(g *device.Grant) {
				g.Network = &resourceapi.NetworkDeviceData{IPs: []string{"10.0.0.1"}}
			})
		}, "order of the request"},
		"the name of an interface that is too long": {func(f *fake) {
			f.prepare = edit(func(g *device.Grant) {
				g.Network = &resourceapi.NetworkDeviceData{InterfaceName: strings.Repeat("x", 257)}
			})
		}, "order of the request"},
		"an unhealthy device without a reason": {func(f *fake) {
			f.devices = func(int) []device.Device {
				sick := device.Health{Unhealthy: true}
				return []device.Device{{Device: resourceapi.Device{Name: "gpu-0"}, Health: sick}}
			}
		}, "unique names"},
		"a part besides the whole": {func(f *fake) {
			f.devices = func(int) []device.Device {
				return []device.Device{
					{Device: resourceapi.Device{Name: "gpu-0"}}, {Device: resourceapi.Device{Name: "part"}, PartOf: "gpu-0"},
				}
			}
		}, "exclude each other"},
		"more than there is": {func(f *fake) {
			f.devices = func(int) []device.Device {
				d := resourceapi.Device{Name: "gpu-0", ConsumesCounters: consumption("set", 2)}
				return []device.Device{{Device: d}}
			}
			f.counters = []resourceapi.CounterSet{set("set", 1)}
		}, "exclude each other"},
		"names that change": {func(f *fake) {
			f.devices = func(call int) []device.Device {
				return []device.Device{{Device: resourceapi.Device{Name: fmt.Sprintf("gpu-%d", call)}}}
			}
		}, "same when asked again"},
		"grants in the order of the devices' names": {func(f *fake) {
			f.prepare = func(f *fake, r device.Request) ([]device.Grant, error) {
				grants, err := f.grant(r)
				slices.SortFunc(grants, func(a, b device.Grant) int {
					return strings.Compare(a.Result.Device, b.Result.Device)
				})
				return grants, err
			}
		}, "order of the request"},
		"an answer that counts the calls": {func(f *fake) {
			f.prepare = func(f *fake, r device.Request) ([]device.Grant, error) {
				return edit(func(g *device.Grant) {
					g.Edits.Env = append(g.Edits.Env, fmt.Sprintf("CALL=%d", f.prepared[r.Claim.UID]))
				})(f, r)
			}
		}, "same answer"},
		"no edits": {func(f *fake) {
			f.prepare = edit(func(g *device.Grant) { g.Edits = &cdispecs.ContainerEdits{} })
		}, "order of the request"},
		"a variable with a dash": {func(f *fake) {
			f.prepare = edit(func(g *device.Grant) { g.Edits.Env = []string{"GPU-0=x"} })
		}, "order of the request"},
		"a variable without value": {func(f *fake) {
			f.prepare = edit(func(g *device.Grant) { g.Edits.Env = []string{"GPU"} })
		}, "order of the request"},
		"an undo that was not remembered": {func(f *fake) {
			f.prepare = edit(func(g *device.Grant) { g.Undo = json.RawMessage(`{"n":2}`) })
		}, "remembered last"},
		"an error of Remember that is dropped": {func(f *fake) {
			f.prepare = func(f *fake, r device.Request) ([]device.Grant, error) {
				remember := r.Remember
				r.Remember = func(i int, undo json.RawMessage) error { _ = remember(i, undo); return nil }
				return f.grant(r)
			}
		}, "fails when remembering does"},
		"any device is prepared": {func(f *fake) {
			f.prepare = func(f *fake, r device.Request) ([]device.Grant, error) {
				r.Devices = slices.Clone(r.Devices)
				for i := range r.Devices {
					r.Devices[i].Device = "gpu-0"
				}
				return f.grant(r)
			}
		}, "not there"},
		"unprepare only of what was prepared": {func(f *fake) {
			f.unprepare = func(f *fake, g device.Grant) error {
				if f.prepared[g.Claim.UID] == 0 {
					return errors.New("unknown claim")
				}
				return nil
			}
		}, "no error"},
		"unprepare only once": {func(f *fake) {
			taken := map[string]bool{}
			f.unprepare = func(_ *fake, g device.Grant) error {
				if key := string(g.Claim.UID) + g.Result.Device; taken[key] {
					return errors.New("twice")
				} else {
					taken[key] = true
				}
				return nil
			}
		}, "twice"},
		"unprepare only with undo": {func(f *fake) {
			f.unprepare = func(_ *fake, g device.Grant) error {
				if g.Undo == nil {
					return errors.New("no undo")
				}
				return nil
			}
		}, "without what was remembered"},
		"admin access that resets the device": {func(f *fake) {
			mode := "shared"
			f.prepare = func(f *fake, r device.Request) ([]device.Grant, error) {
				if r.Devices[0].AdminAccess != nil {
					mode = "exclusive"
				}
				return edit(func(g *device.Grant) { g.Edits.Env = append(g.Edits.Env, "MODE="+mode) })(f, r)
			}
		}, "admin access"},
		"admin access refused for a device in use": {func(f *fake) {
			f.prepare = func(f *fake, r device.Request) ([]device.Grant, error) {
				if r.Devices[0].AdminAccess != nil {
					return nil, errors.New("in use")
				}
				return f.grant(r)
			}
		}, "admin access"},
		"one claim at a time": {func(f *fake) {
			f.prepare = func(f *fake, r device.Request) ([]device.Grant, error) {
				if f.prepared[r.Claim.UID] > 1 && r.Claim.UID == uid(101) {
					return nil, errors.New("busy")
				}
				return f.grant(r)
			}
		}, "do not disturb"},
		"sweeping that spares nothing": {func(f *fake) {
			swept := false
			f.sweep = func(f *fake) { swept = len(f.prepared) > 0 }
			f.prepare = func(f *fake, r device.Request) ([]device.Grant, error) {
				if swept {
					return nil, errors.New("my directory is gone")
				}
				return f.grant(r)
			}
		}, "sweeping"},
		"watching that fails at its end": {func(f *fake) {
			f.watch = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		}, "watching"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, c := range checks() {
				f := newFake()
				broken.change(f)
				s := subject{f, gpuv1alpha1.Default()}
				if strings.Contains(c.name, broken.want) && c.run(t.Context(), s) != nil {
					return
				}
			}
			t.Errorf("no check named …%s… found it", broken.want)
		})
	}
}
