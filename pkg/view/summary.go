package view

import (
	"fmt"
	"strings"
)

func summarize(rows []Row) Summary {
	s := Summary{Devices: len(rows)}
	nodes := make(map[string]bool)
	for i := range rows {
		if r := &rows[i]; r.Node != "" {
			nodes[r.Node] = true
		} else if r.State != NotPublished {
			s.SeveralNodes++
		}
		switch rows[i].State {
		case InUse:
			s.InUse++
		case Shared:
			s.Shared++
		case Free:
			s.Free++
		case MaybeFree:
			s.MaybeFree++
		case Blocked:
			s.Blocked++
		case Tainted, PoolIncomplete, PoolInvalid:
			s.Unusable++
		case NotPublished:
			s.NotPublished++
		case Gone: // is not there
		}
	}
	s.Nodes = len(nodes)
	return s
}

// String returns a line for people: "24 devices on 3 nodes: 5 in use, 1 shared, 17 free, 1 unusable". States that no
// device is in are left out.
func (s Summary) String() string {
	if s.Devices == 0 {
		return "0 devices"
	}
	text := Count(s.Devices, "device")
	switch {
	case s.Nodes > 0 && s.SeveralNodes > 0:
		text += fmt.Sprintf(" (%s on %s, %s for several nodes)", Number(s.Devices-s.SeveralNodes), Count(s.Nodes, "node"),
			Number(s.SeveralNodes))
	case s.Nodes > 0:
		text += " on " + Count(s.Nodes, "node")
	case s.SeveralNodes > 0:
		text += " for several nodes"
	}
	var parts []string
	for _, p := range []struct {
		n    int
		what string
	}{
		{s.InUse, "in use"},
		{s.Shared, "shared"},
		{s.Free, "free"},
		{s.MaybeFree, "free unless a claim that was not seen has it"},
		{s.Blocked, "blocked by others in use"},
		{s.Unusable, "unusable"},
		{s.NotPublished, "not published any more"},
	} {
		if p.n > 0 {
			parts = append(parts, Number(p.n)+" "+p.what)
		}
	}
	return text + ": " + strings.Join(parts, ", ")
}
