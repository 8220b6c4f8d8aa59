package why

import "fmt"

// notCovered says what could not be seen, and what follows from it for the answer.
func (w *world) notCovered() []string {
	var sentences []string
	for _, u := range w.Unseen {
		if u.NotServed {
			continue
		}
		what := u.Resource
		switch {
		case u.Only != "":
			what += " outside namespace " + u.Only
		case u.Namespace != "":
			what += " of namespace " + u.Namespace
		}
		sentences = append(sentences, fmt.Sprintf("%s could not be seen: %s", what, w.follows(u.Resource)))
	}
	return sentences
}

func (w *world) follows(resource string) string {
	switch resource {
	case "resourceslices":
		return "which devices there are is not known"
	case "resourceclaims":
		return "devices that seem to be free may be in use"
	case "deviceclasses":
		return "what the classes select is not known"
	case "nodes":
		return "the nodes' labels and taints are not taken into account"
	case "devicetaintrules":
		return "taints that rules add are not taken into account"
	case "pods":
		return "who uses the devices is known by the claims only"
	case "resourceclaimtemplates":
		return "what a template would ask for is not known"
	case "namespaces":
		return "whether the namespace allows admin access is not known"
	case "events":
		return "what the kubelet and the drivers say of it is not known"
	}
	return "the answer does not take them into account"
}

// takes says which right it takes to see the resource, if that is what is missing.
func (w *world) takes(resource string) string {
	for _, u := range w.Unseen {
		if u.Resource == resource && u.Right != "" {
			return ", which takes the right to " + u.Right
		}
	}
	return ""
}

// blind says whether the resource could not be seen at all.
func (w *world) blind(resource string) bool {
	for _, u := range w.Unseen {
		if u.Resource == resource && u.Only == "" && !u.NotServed {
			return true
		}
	}
	return false
}
