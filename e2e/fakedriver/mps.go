package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	mpsName       = "nvidia-cuda-mps-control"
	mpsServerName = "nvidia-cuda-mps-server"
)

// mpsControl is the MPS control daemon (-f in the foreground, -d in the background) and, without either, its client,
// which sends the commands of its standard input.
func mpsControl(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet(mpsName, flag.ContinueOnError)
	foreground, background := flags.Bool("f", false, ""), flags.Bool("d", false, "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if driver, err := here(); err == nil {
		if err := misbehave(ctx, driver, mpsName); err != nil {
			return err
		}
	}
	switch pipe := environment("CUDA_MPS_PIPE_DIRECTORY", "/tmp/nvidia-mps"); {
	case *foreground:
		return (&mpsDaemon{pipe: pipe, limits: map[string]string{}, percentage: "100.0"}).run(ctx)
	case *background:
		return startDaemon(ctx, pipe)
	default:
		return mpsClient(ctx, pipe)
	}
}

func environment(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}

// mpsServer is only there to be found.
func mpsServer(context.Context, []string) error {
	return errors.New("started by the control daemon only")
}

func socket(pipe string) string { return filepath.Join(pipe, "control") }

func startDaemon(ctx context.Context, pipe string) error {
	program, err := os.Executable()
	if err != nil {
		program = os.Args[0]
	}
	c := exec.Command(program, "-f") //nolint:noctx // it outlives this process
	c.Args[0] = mpsName
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := c.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	for {
		if connection, err := net.Dial("unix", socket(pipe)); err == nil {
			return connection.Close()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-ended:
			return fmt.Errorf("the daemon ended: %w", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// mpsClient sends a command for each line, and prints the answers.
func mpsClient(ctx context.Context, pipe string) error {
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		connection, err := (&net.Dialer{}).DialContext(ctx, "unix", socket(pipe))
		if err != nil {
			fmt.Println("Cannot find MPS control daemon process")
			return err
		}
		if _, err := fmt.Fprintln(connection, lines.Text()); err != nil {
			return err
		}
		_, err = io.Copy(os.Stdout, connection)
		if err := errors.Join(err, connection.Close()); err != nil {
			return err
		}
	}
	return nil
}

// mpsDaemon is a control daemon: its settings are all that it has.
type mpsDaemon struct {
	pipe string
	log  io.Writer

	mu         sync.Mutex
	percentage string
	limits     map[string]string // pinned memory by device
}

func (d *mpsDaemon) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	logs := environment("CUDA_MPS_LOG_DIRECTORY", "/var/log/nvidia-mps")
	if err := errors.Join(os.MkdirAll(d.pipe, 0o755), os.MkdirAll(logs, 0o755)); err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(logs, "control.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close() //nolint:errcheck // the log of a daemon that ends
	d.log = log
	if connection, err := net.Dial("unix", socket(d.pipe)); err == nil {
		_ = connection.Close()
		return errors.New("An instance of this daemon is already running") //nolint:staticcheck,revive // the original's words
	}
	if err := os.Remove(socket(d.pipe)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	listener, err := net.Listen("unix", socket(d.pipe))
	if err != nil {
		return err
	}
	pid := filepath.Join(d.pipe, mpsName+".pid")
	if err := os.WriteFile(pid, fmt.Appendln(nil, os.Getpid()), 0o644); err != nil {
		return err
	}
	defer os.Remove(pid) //nolint:errcheck // it only informs
	d.say("Start with devices %q", os.Getenv("CUDA_VISIBLE_DEVICES"))
	defer context.AfterFunc(ctx, func() { _ = listener.Close() })()
	for {
		connection, err := listener.Accept()
		if err != nil {
			d.say("Exit")
			return nil //nolint:nilerr // closed, by a signal or by "quit"
		}
		go d.serve(connection, cancel)
	}
}

func (d *mpsDaemon) say(format string, args ...any) {
	_, _ = fmt.Fprintf(d.log, "[%s Control %d] %s\n",
		time.Now().Format(time.DateTime), os.Getpid(), fmt.Sprintf(format, args...))
}

func (d *mpsDaemon) serve(connection net.Conn, quit func()) {
	defer connection.Close() //nolint:errcheck // the answer was written
	line, err := bufio.NewReader(connection).ReadString('\n')
	if err != nil {
		return
	}
	d.say("Accepting connection: %s", strings.TrimSpace(line))
	words := append(strings.Fields(line), "", "", "")
	d.mu.Lock()
	defer d.mu.Unlock()
	switch words[0] {
	case "quit":
		quit()
	case "get_server_list", "start_server", "":
	case "get_default_active_thread_percentage":
		_, _ = fmt.Fprintln(connection, d.percentage)
	case "set_default_active_thread_percentage":
		d.percentage = strings.TrimSuffix(words[1], ".0") + ".0"
		_, _ = fmt.Fprintln(connection, d.percentage)
	case "set_default_device_pinned_mem_limit":
		d.limits[words[1]] = words[2]
	case "get_default_device_pinned_mem_limit":
		_, _ = fmt.Fprintln(connection, d.limits[words[1]])
	case "fake_settings": // for tests
		_, _ = fmt.Fprintf(connection, "devices=%s percentage=%s", os.Getenv("CUDA_VISIBLE_DEVICES"), d.percentage)
		for _, device := range slices.Sorted(maps.Keys(d.limits)) {
			_, _ = fmt.Fprintf(connection, " limit[%s]=%s", device, d.limits[device])
		}
		_, _ = fmt.Fprintln(connection)
	default:
		_, _ = fmt.Fprintln(connection, "Invalid command:", words[0])
	}
}
