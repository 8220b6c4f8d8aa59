package footprint

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"example.com/dragoman/pkg/sanity/figures"
)

// burner makes this test program a process that waits for a line, uses processor time in two threads, and says when it
// has.
const burner = "FOOTPRINT_TEST_BURN"

func TestMain(m *testing.M) {
	if long, err := time.ParseDuration(os.Getenv(burner)); err == nil {
		burn(long)
		return
	}
	os.Exit(m.Run())
}

func burn(long time.Duration) {
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		done := make(chan struct{})
		for range 2 {
			go func() {
				runtime.LockOSThread()
				for {
					spent, err := CPU(os.Getpid())
					if err != nil || spent > 2*long {
						done <- struct{}{}
						return
					}
				}
			}()
		}
		<-done
		<-done
		fmt.Println("burnt")
	}
}

func TestProcessorTimeIsThatOfAllThreadsOfAnotherProcess(t *testing.T) {
	const each = 50 * time.Millisecond
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), burner+"="+each.String())
	in, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = in.Close()
		_ = child.Wait()
	}()
	before, err := CPU(child.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if before > each {
		t.Fatalf("it has used %v and did nothing yet", before)
	}
	fmt.Fprintln(in, "burn")
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if spent, err := CPU(child.Process.Pid); err != nil || spent < 2*each {
		t.Errorf("%v: it has used %v, expected at least %v", err, spent, 2*each)
	}
	if process, err := Of(child.Process.Pid); err != nil || process.Threads < 2 {
		t.Errorf("%v: it has %d threads, expected at least 2", err, process.Threads)
	}
}

func TestAProcessThatIsGoneIsAnError(t *testing.T) {
	child := exec.CommandContext(t.Context(), "true")
	if err := child.Run(); err != nil {
		t.Fatal(err)
	}
	if _, err := Of(child.Process.Pid); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its memory: %v", err)
	}
	if spent, err := CPU(child.Process.Pid); err == nil {
		t.Errorf("its processor time is %v", spent)
	}
}

func TestMemoryAndFilesOfAProcess(t *testing.T) {
	before, err := Of(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	const more = 64 << 20
	// Not of the heap, for which the race detector has memory of its own.
	held, err := unix.Mmap(-1, 0, more, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < more; i += os.Getpagesize() {
		held[i] = 1
	}
	for range 10 {
		file, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close() //nolint:errcheck // it is only open
	}
	after, err := Of(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for what, grown := range map[string]int64{
		"resident memory": after.RSS - before.RSS, "anonymous memory": after.Anonymous - before.Anonymous,
		"the peak": after.PeakRSS - before.RSS,
	} {
		if grown < more*9/10 || grown > 2*more {
			t.Errorf("%s has grown by %d bytes, expected %d", what, grown, more)
		}
	}
	if grown := after.OpenFiles - before.OpenFiles; grown != 10 {
		t.Errorf("%d files more are open, expected 10", grown)
	}
	if err := unix.Munmap(held); err != nil {
		t.Error(err)
	}
}

func TestWhoListensIsTheProcessBehindTheSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	if pid, err := Listener(path); err == nil {
		t.Errorf("nobody listens, and it is said to be %d", pid)
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close() //nolint:errcheck // nobody was served
	if pid, err := Listener(path); err != nil || pid != os.Getpid() {
		t.Errorf("%v: it is said to be %d, expected %d", err, pid, os.Getpid())
	}
}

func TestStracesTable(t *testing.T) {
	const table = `syscall              calls
---------------- ---------
futex                  120
fsync                    2
openat                   3
---------------- ---------
total                  125
`
	calls, err := parse(strings.NewReader(table))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int{"all": 125, "futex": 120, "fsync": 2, "fdatasync": 0} {
		if got, there := calls[name]; got != want || !there {
			t.Errorf("%s is %d (%v), expected %d", name, got, there, want)
		}
	}
	if _, others := calls["total"]; others || len(calls) != 7 {
		t.Errorf("there is more than system calls: %v", calls)
	}
	if _, err := parse(strings.NewReader("futex many\n")); err == nil {
		t.Error("what is no number is read as one")
	}
}

func TestWhatStraceSaysWhenItAttaches(t *testing.T) {
	cases := map[string]struct {
		said, wrong string
	}{
		"to one thread":            {"/usr/bin/strace: Process 12 attached\n", ""},
		"to several threads":       {"strace: Process 12 attached with 4 threads\n", ""},
		"if it may not":            {"strace: attach: ptrace(PTRACE_SEIZE, 1): Operation not permitted\n", "not permitted"},
		"if it knows no such flag": {"strace: invalid option -- 'U'\n", "does not watch"},
		"if it says nothing":       {"", "does not watch"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			err := attached(bufio.NewReader(strings.NewReader(c.said)))
			if (err == nil) != (c.wrong == "") || err != nil && !strings.Contains(err.Error(), c.wrong) {
				t.Errorf("it is %v, expected %q", err, c.wrong)
			}
		})
	}
}

func TestTheMachineIsNamed(t *testing.T) {
	m := Machine(t.TempDir())
	if m.Cores < 1 || m.Kernel == "" || m.OS == "" || m.Disk == "" {
		t.Errorf("something is missing: %+v", m)
	}
	if nowhere := Machine("/no/such/directory"); nowhere.Disk != "" {
		t.Errorf("a directory that is not there is on %q", nowhere.Disk)
	}
	if m == (figures.Machine{}) {
		t.Error("nothing is known")
	}
}
