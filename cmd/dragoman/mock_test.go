package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// tells has a second process tell the machine of a running one something, as somebody does with kubectl exec.
func (p *runningProcess) tells(words ...string) string {
	p.t.Helper()
	args := append([]string{"mock", "--node-name", "node-a", "--state-dir", p.dir + "/state"}, words...)
	code, said, problem := invoke(p.t, nil, args...)
	if code != exitOK {
		p.t.Fatalf("dragoman %s: exit code %d: %s", strings.Join(args, " "), code, problem)
	}
	return said
}

// TestAMachineThatIsToldToBreakBreaks: at once, for everybody, with one write for each change, until it is told
// otherwise.
func TestAMachineThatIsToldToBreakBreaks(t *testing.T) {
	for _, effect := range []string{"NoSchedule", "NoExecute"} {
		t.Run(effect, func(t *testing.T) {
			api, dir := newAPIServer(t), shortDir(t)
			api.admit = kubernetes137
			policy := "health: {taintEffect: " + effect + "}\n"
			p := startWith(t, policy, dir, nil, "--kubeconfig", api.kubeconfig(t))
			k := register(t, p)
			p.becomesReady()
			news := told(t, k)
			hears(t, news, "HEALTHY ")

			said := p.tells("set", "gpu-1", "health=unhealthy", "reason="+fellOff)
			if said != "gpu-1 is unhealthy: "+fellOff+"\n" {
				t.Errorf("it says %q", said)
			}
			hears(t, news, "UNHEALTHY "+fellOff)
			sick := "gpu-0 gpu-1!gpu.example.com/unhealthy=true:" + effect + " gpu-2 gpu-3 gpu-4 gpu-5 gpu-6 gpu-7"
			eventually(t, "the taint", func() bool { return api.outline() == sick })
			p.becomesReady()
			_, metrics := p.http("/metrics")
			for _, want := range []string{
				`dragoman_devices{state="unhealthy"} 1`, `dragoman_device_unhealthy{device="gpu-1"} 1`,
			} {
				if !strings.Contains(metrics, want+"\n") {
					t.Errorf("no %s in the metrics", want)
				}
			}
			if got := api.written(); got != "create update" {
				t.Errorf("writes: %s; want one for the change", got)
			}

			p.signal(syscall.SIGTERM)
			if code := p.wait(); code != exitOK {
				t.Fatalf("exit code %d", code)
			}
			p = startWith(t, policy, dir, nil, "--kubeconfig", api.kubeconfig(t))
			k = register(t, p)
			p.becomesReady()
			news = told(t, k)
			hears(t, news, "UNHEALTHY "+fellOff)
			if got := api.outline(); got != sick {
				t.Errorf("after a restart: %s", got)
			}
			if got := p.tells("show"); !strings.HasPrefix(got, "gpu-1 is unhealthy: "+fellOff+"\nnode node-a: it has gpu-0") {
				t.Errorf("it shows %q", got)
			}

			p.tells("reset")
			hears(t, news, "HEALTHY ")
			eventually(t, "no taint", func() bool { return !strings.Contains(api.outline(), "!") })
			p.becomesReady()
			if got := api.written(); got != "create update update" {
				t.Errorf("writes: %s; want one for each change, and none for the restart", got)
			}
		})
	}
}

// TestDevicesComeAndGo while a driver runs, and calls take long and fail as they are told to.
func TestDevicesComeAndGo(t *testing.T) {
	api := newAPIServer(t)
	api.admit = kubernetes137
	p := start(t, shortDir(t), nil, "--kubeconfig", api.kubeconfig(t))
	k := register(t, p)
	p.becomesReady()
	p.tells("remove", "gpu-1")
	p.tells("add", "gpu-9", "like=gpu-1")
	eventually(t, "the devices", func() bool { return api.outline() == "gpu-0 gpu-2 gpu-3 gpu-4 gpu-5 gpu-6 gpu-7 gpu-9" })

	api.allocate("train", "gpu-9")
	p.tells("fail", "prepare", "times=1", "message=the bus is busy")
	prepared, err := k.PrepareOne(limit(t), claimed("train"))
	if err == nil || !strings.Contains(err.Error(), "the bus is busy") {
		t.Errorf("prepare: %v, %v", prepared, err)
	}
	if prepared, err := k.PrepareOne(limit(t), claimed("train")); err != nil || len(prepared.Devices) != 1 {
		t.Errorf("prepare again: %v, %v", prepared, err)
	}
	if err := k.UnprepareOne(limit(t), claimed("train")); err != nil {
		t.Error(err)
	}

	p.tells("fail", "look", "message=the bus is gone")
	eventually(t, "the driver does not know its devices", func() bool {
		code, text := p.http("/readyz")
		return code != http.StatusOK && strings.Contains(text, "the bus is gone")
	})
	p.tells("reset")
	p.becomesReady()
	eventually(t, "the devices", func() bool { return api.outline() == "gpu-0 gpu-1 gpu-2 gpu-3 gpu-4 gpu-5 gpu-6 gpu-7" })
}

// TestTheMachineIsFoundByTheConfigurationOfTheDriver, which is all that who comes with kubectl exec has.
func TestTheMachineIsFoundByTheConfigurationOfTheDriver(t *testing.T) {
	state := shortDir(t)
	if err := os.MkdirAll(filepath.Join(state, "gpu.vendor.example"), 0o700); err != nil {
		t.Fatal(err)
	}
	config := file(t, "config.yaml", header+"driverName: gpu.vendor.example\nmockProfile: l4-4x\nstateDir: "+state+"\n")
	env := map[string]string{"DRAGOMAN_CONFIG": config, "NODE_NAME": "node-a"}
	for _, args := range []string{"mock set gpu-3 health=unhealthy", "mock show", "devices"} {
		code, got, problem := invoke(t, env, strings.Fields(args)...)
		if code != exitOK || !strings.Contains(got, "gpu-3") || strings.Contains(got, "gpu-4") {
			t.Errorf("%s: exit code %d: %s%s", args, code, got, problem)
		}
		total := "4 devices, 1 unhealthy; 1 slice in pool node-a of driver gpu.vendor.example"
		if args == "devices" && !strings.Contains(got, total) {
			t.Errorf("devices:\n%s", got)
		}
	}
	// Flags win.
	code, _, problem := invoke(t, env, "mock", "--driver-name", "gpu.example.com", "show")
	if code != exitError || !strings.Contains(problem, "no driver gpu.example.com has run on this node since it booted: "+
		"there is no "+state+"/gpu.example.com;") {
		t.Errorf("another driver: exit code %d: %s", code, problem)
	}
	env["DRAGOMAN_CONFIG"] = file(t, "config.yaml", header+"mockprofile: x\n")
	code, _, problem = invoke(t, env, "mock", "show")
	if code != exitUsage || !strings.HasPrefix(problem, "dragoman: $DRAGOMAN_CONFIG "+env["DRAGOMAN_CONFIG"]+": ") {
		t.Errorf("a bad file: exit code %d: %s", code, problem)
	}
	code, _, problem = invoke(t, env, "mock", "--config", config, "show")
	if code != exitOK {
		t.Errorf("--config does not win: exit code %d: %s", code, problem)
	}
}

func TestWhatCannotBeToldToAMachine(t *testing.T) {
	state := shortDir(t)
	if err := os.MkdirAll(filepath.Join(state, "gpu.example.com"), 0o700); err != nil {
		t.Fatal(err)
	}
	for args, test := range map[string]struct {
		code int
		want string
	}{
		"":                            {exitUsage, "mock: a verb is missing; there are: set, remove, add, slow, fail"},
		"break gpu-0":                 {exitUsage, `mock: unknown verb "break"`},
		"set gpu-0 health=ill":        {exitUsage, `. See "dragoman mock --help"`},
		"set gpu-0 --node-name n":     {exitUsage, `"--node-name" is none of what can follow`},
		"--no-such-flag show":         {exitUsage, "unknown flag --no-such-flag"},
		"set gpu-8 health=unhealthy":  {exitError, `mock: device "gpu-8" is not on node node-a: it has gpu-0`},
		"--backend nvml remove gpu-0": {exitError, "mock: the backend is nvml, and what it finds is hardware"},
	} {
		all := append([]string{"mock", "--state-dir", state, "--node-name", "node-a"}, strings.Fields(args)...)
		code, stdout, stderr := invoke(t, nil, all...)
		told := strings.HasPrefix(stderr, "dragoman: ") && strings.Contains(stderr, test.want)
		if code != test.code || stdout != "" || !told {
			t.Errorf("%s: exit code %d, want %d: %s%s\ndoes not say %s", args, code, test.code, stdout, stderr, test.want)
		}
	}
	code, help, _ := invoke(t, nil, "mock", "--help")
	if code != exitOK || !strings.Contains(help, "fail prepare|unprepare|look") || !strings.Contains(help, "kubectl") {
		t.Errorf("exit code %d, help:\n%s", code, help)
	}
}
