package main

import (
	"fmt"

	"example.com/dragoman/pkg/view"
)

// unseen says on stderr what the user may not see of a cluster, and what follows from it for the answer. Kinds that the
// server does not have are not worth a word: there is nothing of them.
func (s *session) unseen(c *view.Cluster) {
	for _, u := range c.Unseen {
		if u.NotServed {
			continue
		}
		s.say("Not seen: %s%s. %s", u.Resource, whereUnseen(u), consequence(u.Resource))
		s.say("  %s", u.Why)
		if u.Right != "" {
			s.say("  It needs the right to %s.", u.Right)
		}
	}
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
