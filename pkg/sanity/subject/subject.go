// Package subject is the driver under test: how to start, stop, kill and restart it, by command lines. What else is
// known of it are its name and its directories.
package subject

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/uuid"
)

// Dirs are the directories through which a driver is seen.
type Dirs struct {
	Kubelet  string // what /var/lib/kubelet is on a node
	Registry string // where registration sockets are: Kubelet/plugins_registry
	Plugin   string // where the driver has its socket: Kubelet/plugins/<driver>
	CDI      string // where CDI files are
	State    string // where the driver keeps what it has to remember; "" if that is not known
	// Leftovers are further directories in which nothing of a claim may stay.
	Leftovers []string
}

// Options describe a driver.
type Options struct {
	Driver, Node, Kubeconfig string
	Dirs                     Dirs
	// Start is a command line for sh. The driver is that process, in the foreground, unless Stop is set: then Start ends
	// when the driver is started, as "systemctl start" does. Without it, a driver is used that runs already.
	Start string
	// Stop, Kill and Restart are command lines for drivers that run elsewhere.
	Stop, Kill, Restart string
	// Environment is added to what the driver's commands find in their environment: "NAME=value".
	Environment []string
	// Output gets what the driver says, besides its log; may be nil.
	Output io.Writer
}

// Subject is a driver, of which there may be several instances.
type Subject struct {
	options Options

	mutex     sync.Mutex
	instances []*Instance
}

// New describes a driver. It starts nothing.
func New(options Options) *Subject { return &Subject{options: options} }

// Foreground says whether the driver's processes are in our hands: they can be started side by side, killed and paused.
func (s *Subject) Foreground() bool { return s.options.Start != "" && s.options.Stop == "" }

// CanStart says whether the driver can be started, and stopped.
func (s *Subject) CanStart() bool { return s.options.Start != "" }

// CanKill says whether the driver can be ended without being asked.
func (s *Subject) CanKill() bool { return s.Foreground() || s.options.Kill != "" && s.CanStart() }

// CanRestart says whether the driver can be ended and started.
func (s *Subject) CanRestart() bool { return s.options.Restart != "" || s.CanStart() }

// Start starts one more instance. It does not wait until the driver registers.
func (s *Subject) Start(ctx context.Context) (*Instance, error) {
	if !s.CanStart() {
		return nil, errors.New("start the driver: no --start was given")
	}
	i := &Instance{subject: s, ID: string(uuid.NewUUID())}
	if !s.Foreground() {
		if err := s.command(ctx, i.ID, s.options.Start); err != nil {
			return nil, fmt.Errorf("start the driver: %w", err)
		}
	} else if err := i.launch(); err != nil {
		return nil, fmt.Errorf("start the driver: %w", err)
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.instances = append(s.instances, i)
	return i, nil
}

// Running returns the instances that were started and have not ended, the oldest first.
func (s *Subject) Running() []*Instance {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return slices.DeleteFunc(slices.Clone(s.instances), (*Instance).Ended)
}

// Forget drops the logs of instances that have ended.
func (s *Subject) Forget() {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.instances = slices.DeleteFunc(s.instances, (*Instance).Ended)
}

// Restart restarts the driver: with the command for it, or by stopping its instances and starting one.
func (s *Subject) Restart(ctx context.Context) error {
	if s.options.Restart != "" {
		if err := s.command(ctx, "", s.options.Restart); err != nil {
			return fmt.Errorf("restart the driver: %w", err)
		}
		return nil
	}
	for _, i := range s.Running() {
		if err := i.End(ctx); err != nil {
			return err
		}
	}
	_, err := s.Start(ctx)
	return err
}

// Close ends all instances at once, the hard way where they are ours.
func (s *Subject) Close(ctx context.Context) error {
	var err error
	for _, i := range s.Running() {
		if s.Foreground() {
			err = errors.Join(err, i.Kill(ctx))
		} else {
			err = errors.Join(err, i.Stop(ctx))
		}
	}
	return err
}

// environment is what the driver's commands find in their environment, besides that of this process.
func (s *Subject) environment(instance string) []string {
	o, d := s.options, s.options.Dirs
	return append(append(os.Environ(), o.Environment...),
		"DRA_SANITY_DRIVER="+o.Driver, "DRA_SANITY_NODE="+o.Node, "DRA_SANITY_KUBECONFIG="+o.Kubeconfig,
		"DRA_SANITY_KUBELET_DIR="+d.Kubelet, "DRA_SANITY_REGISTRY_DIR="+d.Registry, "DRA_SANITY_PLUGIN_DIR="+d.Plugin,
		"DRA_SANITY_CDI_DIR="+d.CDI, "DRA_SANITY_STATE_DIR="+d.State, "DRA_SANITY_INSTANCE="+instance)
}

// outputDelay is how long a command's output is waited for when it has ended: what it starts in the background may hold
// the output open for as long as it runs.
const outputDelay = 100 * time.Millisecond

// Run runs a command line for sh to its end, with the environment of the driver's commands and these variables more.
// What it says is in the error if there is one.
func (s *Subject) Run(ctx context.Context, line string, environment ...string) error {
	return s.run(ctx, append(s.environment(""), environment...), line)
}

func (s *Subject) command(ctx context.Context, instance, line string) error {
	return s.run(ctx, s.environment(instance), line)
}

func (s *Subject) run(ctx context.Context, environment []string, line string) error {
	c := exec.CommandContext(ctx, "sh", "-c", line)
	c.Env = environment
	c.WaitDelay = outputDelay
	if output, err := c.CombinedOutput(); err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		return fmt.Errorf("%q: %w: %s", line, err, strings.TrimSpace(string(output)))
	}
	return nil
}

// Log returns the end of what all instances said, but for those that are forgotten.
func (s *Subject) Log(limit int) string {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	var all strings.Builder
	for _, i := range s.instances {
		fmt.Fprintf(&all, "--- instance %s%s\n%s", i.ID, i.state(), i.output.tail(limit))
	}
	return all.String()
}
