package main

import (
	"fmt"
	"slices"
	"strings"

	"example.com/dragoman/pkg/view"
)

// unseen says on stderr what the user may not see of a cluster, what follows from it for the answer, and which rights
// are missing. Kinds that the server does not have are not worth a word: there is nothing of them.
func (s *session) unseen(c *view.Cluster) {
	var rights []string
	for _, u := range c.Unseen {
		if u.NotServed {
			continue
		}
		s.say("Not seen: %s%s. %s", u.Resource, whereUnseen(u), consequence(u.Resource))
		switch {
		case u.Right == "":
			s.say("  %s", u.Why)
		case !slices.Contains(rights, u.Right):
			rights = append(rights, u.Right)
		}
	}
	if len(rights) > 0 {
		s.say("%s", rightsText(rights))
	}
}

// rightsText names rights as "kubectl auth can-i" takes them; "" if there are none.
func rightsText(rights []string) string {
	if len(rights) == 0 {
		return ""
	}
	return "Rights that are missing: " + strings.Join(rights, ", ") + "."
}

func whereUnseen(u view.Unseen) string {
	switch {
	case u.Only != "":
		return fmt.Sprintf(" of other namespaces than %s", u.Only)
	case u.Namespace != "":
		return " in namespace " + u.Namespace
	}
	return ""
}

// consequence is what not seeing a kind means for who reads the answer.
func consequence(resource string) string {
	switch resource {
	case slicesResource:
		return "There may be devices that you cannot see."
	case "resourceclaims":
		return "A device that is shown as free may be in use by a claim that you cannot see."
	case "devicetaintrules":
		return "A device that is shown without a taint may have one from a rule."
	case "nodes":
		return "Whether a node would take the pod, by its labels and taints, is left out."
	case "namespaces":
		return "Whether a namespace has the label for admin access is not known."
	}
	return "The answer is without them."
}

// slicesResource are what has the devices.
const slicesResource = "resourceslices"

// withoutDevices says that no device of the cluster could be seen, which is another thing than that there are none.
func withoutDevices(c *view.Cluster) bool {
	return len(c.Slices) == 0 && slices.ContainsFunc(c.Unseen, func(u view.Unseen) bool {
		return u.Resource == slicesResource && !u.NotServed
	})
}
