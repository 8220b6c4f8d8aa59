package gather

import (
	"context"
	"fmt"
	"strings"
	"time"

	"example.com/dragoman/pkg/view/mask"
)

// readme adds the file that says what the others are.
func (g *gathering) readme(context.Context) error {
	var text strings.Builder
	c := g.report.Cluster
	fmt.Fprintf(&text, "A support bundle about Dynamic Resource Allocation (DRA) in a Kubernetes cluster.\n\n")
	fmt.Fprintf(&text, "Gathered %s by %s from an API server %s.\n", g.bundle.time.Format(time.RFC3339), g.options.Program,
		orUnknown(c.Version))
	if g.options.Driver != "" {
		fmt.Fprintf(&text, "Only what has to do with driver %s.\n", g.options.Driver)
	}
	if g.options.Namespace != "" {
		fmt.Fprintf(&text, "Claims, templates and users' pods of namespace %s only; drivers of all.\n", g.options.Namespace)
	}
	fmt.Fprintf(&text, "\nWhat is in it\n"+
		"  cluster/            the objects: slices %d, classes %d, claims %d, templates %d, taint rules %d, pods %d,\n"+
		"                      nodes %d, events %d. To look at them:\n"+
		"                        kubectl dra devices --from BUNDLE\n"+
		"                        kubectl dra why pod/NAME -n NAMESPACE --from BUNDLE\n"+
		"  versions.txt        the API server, and the kinds it serves\n"+
		"  feature-gates.txt   the API server's feature gates\n"+
		"  answers/            what kubectl dra says of devices, and of pods that wait\n"+
		"  admission/          webhooks and policies that see objects of DRA when they are made\n"+
		"  drivers/            DaemonSets; logs and metrics of drivers' pods and of what was installed with them (%d),\n"+
		"                      the last %d lines of each container, and of the one before if it was restarted\n",
		len(c.Slices), len(c.Classes), len(c.Claims), len(c.Templates), len(c.TaintRules), len(c.Pods), len(c.Nodes),
		len(c.Events), len(g.report.Drivers), logLines)
	text.WriteString("\nWhat was left out\n" + g.leftOut())
	text.WriteString("\nWhat could not be seen\n" + g.notSeen())
	return g.bundle.add("README.txt", []byte(text.String()))
}

func orUnknown(version string) string {
	if version == "" {
		return "of unknown version"
	}
	return version
}

// What leftOut says.
const (
	leftOutAlways = `  Secrets are never read. What looks like a password, token or key is shown as ` + mask.Hidden + `:
  what has a name that says so, in objects and in logs, and what is one by its look. No program can know all of them.
`
	leftOutUsually = `  Of users' pods: environment, commands, arguments, images, volumes, annotations.
  Of drivers' pods: values of environment variables, annotations.
  IP addresses of nodes and pods, in logs and messages too (` + mask.Address + `).
  Of nodes: annotations, and labels that nothing selects by.
  Of configurations for drivers: values; names of fields are there. Where logs and messages repeat a value, it is
  masked if it has 8 characters at least and is not a plain word.
  With --full these are in it.

What is in it and may be of your organisation
  Names: of namespaces, pods, claims, classes, nodes and images of drivers; labels of all but nodes; your own name
  where you may not see something. What devices and nodes are chosen by, whatever it is called, as far as it does not
  look like a secret: labels, taints, attributes of devices, and the expressions that select them. Logs, as far as
  nothing in them looks like a secret or an address: a driver may write anything there (--no-logs).
`
)

// leftOut says what is not in the bundle, and what is and might not be expected to be.
func (g *gathering) leftOut() string {
	left := leftOutAlways
	if g.options.WithoutLogs {
		left += "  Logs (--no-logs).\n"
	}
	if g.options.Full {
		return left + "  Nothing else (--full): read it before you send it to anybody.\n"
	}
	return left + leftOutUsually
}

func (g *gathering) notSeen() string {
	var text strings.Builder
	for _, u := range g.report.Cluster.Unseen {
		if u.NotServed {
			continue // there is none of it
		}
		fmt.Fprintf(&text, "  %s: %s\n", u.Resource, g.masker.Text(u.Why))
	}
	for _, sentence := range g.report.Missing {
		fmt.Fprintf(&text, "  %s\n", g.masker.Text(sentence))
	}
	if text.Len() == 0 {
		return "  Nothing.\n"
	}
	return text.String()
}
