package conformance

import (
	"context"
	"errors"
	"path/filepath"
	"strings"

	drav1 "k8s.io/kubelet/pkg/apis/dra/v1"
	drav1beta1 "k8s.io/kubelet/pkg/apis/dra/v1beta1"

	"example.com/dragoman/pkg/sanity/kubelet"
	"example.com/dragoman/pkg/sanity/node"
	"example.com/dragoman/pkg/sanity/suite"
)

func (s *subject) registration() []suite.Case {
	return []suite.Case{{
		Name:    "registers",
		Promise: "The driver registers with the kubelet under its name, with an endpoint and a service that a kubelet knows.",
		Source:  plugins + "GetInfo, NotifyRegistrationStatus",
		Run:     s.registers,
	}, {
		Name:    "registers-after-kubelet-restart",
		Promise: "A kubelet that starts anew finds the driver's sockets and can prepare claims at once.",
		Source:  e2eNode + `"must register after Kubelet restart"`,
		Run: func(t *suite.T) {
			s.restartKubelet(t, kubelet.Options{})
			s.works(t)
		},
	}, {
		Name:    "registers-after-driver-restart",
		Promise: "A driver that is restarted registers again with the kubelet that runs.",
		Source:  e2eNode + `"must register after plugin restart"`,
		Needs:   []suite.Need{node.NeedsRestart},
		Run: func(t *suite.T) {
			s.RestartDriver(t)
			s.works(t)
		},
	}, {
		Name:    "registers-after-getinfo-failure",
		Promise: "A kubelet that loses the answer to GetInfo asks again and gets it again.",
		Source:  e2eNode + `"must recover and register after registration failure"`,
		Run: func(t *suite.T) {
			s.restartKubelet(t, kubelet.Options{Abandon: 2})
			s.works(t)
		},
	}, {
		Name:    "registers-after-refusal",
		Promise: "A registration that the kubelet refuses is not the driver's last one.",
		Source:  e2eNode + `"must recover and register after NotifyRegistrationStatus failure"`,
		Run:     s.registersAfterRefusal,
	}, {
		Name:    "serves-v1",
		Promise: "A kubelet that knows only v1 of the DRA service prepares and unprepares claims.",
		Source:  manager + "since Kubernetes 1.34",
		Run:     func(t *suite.T) { s.serves(t, drav1.DRAPluginService) },
	}, {
		Name:    "serves-v1beta1",
		Promise: "A kubelet that knows only v1beta1 of the DRA service prepares and unprepares claims.",
		Source:  manager + "Kubernetes 1.32 and 1.33",
		Run:     func(t *suite.T) { s.serves(t, drav1beta1.DRAPluginService) },
	}, {
		Name:    "versions-agree",
		Promise: "What one version of the DRA service prepares the other one answers alike, and takes back.",
		Source:  helper + "the kubelet may be updated while pods run",
		Run:     s.versionsAgree,
	}}
}

func (s *subject) restartKubelet(t *suite.T, options kubelet.Options) {
	t.Must(s.RestartKubelet(options), "restart the kubelet")
}

// works prepares and unprepares a claim.
func (s *subject) works(t *suite.T) {
	plugin := s.plugin(t)
	claim := s.Exclusive(t, "claim", 1)
	s.Prepare(t, plugin, claim)
	s.Unprepare(t, plugin, claim)
}

func (s *subject) registers(t *suite.T) {
	plugin := s.plugin(t)
	if !filepath.IsAbs(plugin.Endpoint) {
		t.Errorf("the endpoint %q is no absolute path: the kubelet connects to it from its own working directory",
			plugin.Endpoint)
	}
	if len(plugin.Versions()) == 0 {
		t.Errorf("the supported versions are %s; expected %s or %s", strings.Join(plugin.Services, ", "),
			drav1.DRAPluginService, drav1beta1.DRAPluginService)
	}
	t.Notef("it offers %s", strings.Join(plugin.Services, ", "))
	s.works(t)
}

func (s *subject) registersAfterRefusal(t *suite.T) {
	s.restartKubelet(t, kubelet.Options{Refuse: 1})
	restarted := false
	t.Until(node.Patience, "the driver registers after a refusal", func(context.Context) error {
		if s.Kubelet().Registrations(s.Cluster.Driver) > 0 {
			return nil
		}
		// A driver may end when it is refused: on a node it is started again.
		if s.Subject.Foreground() && len(s.Subject.Running()) == 0 && !restarted {
			restarted = true
			t.Notef("the driver ended when it was refused, and was started again")
			s.Start(t)
		}
		return errors.New("no registration was accepted; keep the registration socket, and answer GetInfo again")
	})
	s.works(t)
}

func (s *subject) serves(t *suite.T, service string) {
	if offered := s.plugin(t); !offered.Offers(service) {
		t.NotRun("the driver offers only %s", strings.Join(offered.Versions(), ", "))
	}
	s.restartKubelet(t, kubelet.Options{Services: []string{service}})
	if plugin := s.plugin(t); plugin.Service != service {
		t.Fatalf("the kubelet uses %s", plugin.Service)
	}
	s.works(t)
}

func (s *subject) versionsAgree(t *suite.T) {
	plugin := s.plugin(t)
	versions := plugin.Versions()
	if len(versions) < 2 {
		t.NotRun("the driver offers only %s", strings.Join(versions, ", "))
	}
	claim := s.Exclusive(t, "claim", 1)
	first := s.Prepare(t, plugin.Over(versions[0]), claim)
	second := s.Prepare(t, plugin.Over(versions[1]), claim)
	s.Same(t, "over "+versions[1], first, second)
	s.Unprepare(t, plugin.Over(versions[1]), claim)
}
