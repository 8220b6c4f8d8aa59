package conformance

import (
	"context"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"example.com/dragoman/pkg/sanity/node"
	"example.com/dragoman/pkg/sanity/suite"
)

func (s *subject) endings() []suite.Case {
	return []suite.Case{{
		Name:    "stops-cleanly",
		Promise: "A driver that gets SIGTERM ends with success within the grace period and removes its sockets.",
		Source:  helper + "Helper.Stop; a socket that stays is called until its connection fails",
		Needs:   []suite.Need{node.NeedsProcesses},
		Run:     s.stopsCleanly,
	}, {
		Name:    "nothing-left",
		Promise: "When all claims are unprepared, no file of one is left, in no directory.",
		Source:  unprepare + `"must undo whatever work PrepareResourceClaims did"`,
		Run: func(t *suite.T) {
			s.works(t)
			left, err := s.Left()
			t.Must(err, "look for what is left")
			if len(left) > 0 {
				t.Errorf("all claims are unprepared and this is left: %s", strings.Join(left, ", "))
			}
		},
	}}
}

// gracePeriod is a pod's, by default.
const gracePeriod = 30 * time.Second

func (s *subject) stopsCleanly(t *suite.T) {
	alive := s.aliveSockets(t) // others are left of instances that were killed
	ctx, cancel := context.WithTimeout(t.Context(), gracePeriod)
	defer cancel()
	for _, instance := range s.Subject.Running() {
		if err := instance.Stop(ctx); err != nil {
			t.Errorf("%v; expected exit status 0 within %v of SIGTERM", err, gracePeriod)
		}
	}
	for _, path := range alive {
		if _, err := os.Lstat(path); err == nil {
			t.Errorf("the socket %s is left", path)
		}
	}
}

// aliveSockets are those on which somebody listens.
func (s *subject) aliveSockets(t *suite.T) []string {
	var alive []string
	for _, dir := range []string{s.Dirs.Registry, s.Dirs.Plugin} {
		err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.Type()&fs.ModeSocket == 0 {
				return err
			}
			if conn, err := net.Dial("unix", path); err == nil {
				alive = append(alive, path)
				return conn.Close()
			}
			return nil
		})
		t.Must(err, "look for sockets")
	}
	return alive
}
