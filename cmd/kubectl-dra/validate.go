package main

import (
	"fmt"
	"maps"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"example.com/dragoman/pkg/view/manifest"
	"example.com/dragoman/pkg/view/validate"
)

const validateLong = `Say what is wrong with objects in files before a cluster has them. No cluster is asked.

Claims, claim templates, device classes, slices and taint rules are judged as an API server does: names, limits, what
excludes what, CEL expressions compiled in the API's own environment. Configurations for GPUs are judged by the function
with which the driver reads them when a pod starts, whatever the driver is called. Of pods, and of what has a pod
template, only what they say of claims is judged, and whether the claims and requests that they name are in the files.

Warnings are about what depends on the cluster, such as feature gates. They do not make an object invalid.`

const validateExample = `  # Is what I wrote right?
  kubectl dra validate -f claim.yaml

  # Everything below a folder, as an API server of Kubernetes 1.34 would have it
  kubectl dra validate -f deploy/ --recursive --kubernetes 1.34

  # What a chart renders, for a program to read
  helm template my-chart | kubectl dra validate -f - -o json`

// validateCommand is what the flags of "validate" say.
type validateCommand struct {
	*session
	format *outputFormat

	files      []string
	recursive  bool
	kubernetes string
	gates      map[string]string
}

// newValidateCommand returns "validate".
func newValidateCommand(s *session) *cobra.Command {
	c := &validateCommand{session: s, format: newOutputFormat("text", "json", "yaml")}
	command := &cobra.Command{
		Use:               "validate -f FILE",
		Short:             "Say what is wrong with claims, templates and classes in files",
		Long:              validateLong,
		Example:           validateExample,
		Args:              noArguments,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(*cobra.Command, []string) error { return c.run() },
	}
	flags := command.Flags()
	flags.StringArrayVarP(&c.files, "filename", "f", nil,
		"The `file` or folder with the objects, YAML or JSON, or - for stdin. Can be repeated")
	flags.BoolVarP(&c.recursive, "recursive", "R", false, "Read the folders below the folders of -f, too")
	flags.StringVar(&c.kubernetes, "kubernetes", "",
		"Judge as this `version` of Kubernetes does, 1.34 to 1.37 (default 1.37, with warnings about older ones)")
	flags.StringToStringVar(&c.gates, "feature-gates", nil,
		"Feature gates of that API server that differ from the defaults: `Gate=true`,Gate=false")
	_ = command.RegisterFlagCompletionFunc("feature-gates", cobra.NoFileCompletions)
	c.format.add(command)
	_ = command.MarkFlagFilename("filename", manifestFiles()...)
	_ = command.RegisterFlagCompletionFunc("kubernetes",
		cobra.FixedCompletions(kubernetesVersions(), cobra.ShellCompDirectiveNoFileComp))
	return answers(command)
}

func (c *validateCommand) run() error {
	if len(c.files) == 0 {
		return usageErrorf("validate: -f says which file, and there is none")
	}
	options, err := c.options()
	if err != nil {
		return err
	}
	documents, err := manifest.Read(c.files, c.recursive, c.streams.In)
	if err != nil {
		return err
	}
	results := validate.Documents(documents, options)
	if c.format.value == "text" {
		page := c.newScreen()
		c.writeResults(page, results)
		err = page.printTo(c.streams.Out)
	} else {
		err = c.printObject(c.format.value, map[string]any{"results": results})
	}
	if err != nil {
		return err
	}
	return c.sum(results)
}

func (c *validateCommand) options() (validate.Options, error) {
	o := validate.Options{Gates: map[string]bool{}}
	if c.kubernetes != "" {
		minor, found := strings.CutPrefix(strings.TrimPrefix(c.kubernetes, "v"), "1.")
		minor, _, _ = strings.Cut(minor, ".")
		n, err := strconv.Atoi(minor)
		if o.Minor = n; err != nil || !found || n < validate.Oldest || n > validate.Newest {
			return o, usageErrorf("--kubernetes %s: there are 1.%d to 1.%d", c.kubernetes, validate.Oldest, validate.Newest)
		}
	}
	for gate, value := range maps.All(c.gates) {
		on, err := strconv.ParseBool(value)
		if err != nil {
			return o, usageErrorf("--feature-gates %s=%s: the value must be true or false", gate, value)
		}
		o.Gates[gate] = on
	}
	return o, nil
}

// writeResults writes a line for each problem, and one for each object that has none.
func (c *validateCommand) writeResults(page *screen, results []validate.Result) {
	for _, r := range results {
		where := fmt.Sprintf("%s:%d: %s: ", r.Source, r.Line, r)
		if r.Verdict == validate.Skipped {
			if !r.HasNoDevices { // of a Namespace, a Service, nobody expects to read
				c.say("%sskipped, nothing is known of %s here", where, r.APIVersion)
			}
			continue
		}
		if len(r.Problems) == 0 {
			page.line(span{text: where}, span{good, "ok"})
		}
		for _, p := range r.Problems {
			writeProblem(page, r, p)
		}
	}
}

func writeProblem(page *screen, r validate.Result, p validate.Problem) {
	where := fmt.Sprintf("%s:%d: %s: ", r.Source, p.Line, r)
	if p.Path != "" {
		where += p.Path + ": "
	}
	severity := span{}
	if p.Severity == validate.Warning {
		severity = span{busy, "warning: "}
	}
	page.line(span{text: where}, severity, span{text: p.Message})
	for detail := range strings.Lines(p.Detail) {
		page.linef("    %s", strings.TrimRight(detail, "\r\n"))
	}
}

// sum prints the summary and turns the results into the exit code.
func (c *validateCommand) sum(results []validate.Result) error {
	count := map[validate.Verdict]int{}
	warnings := 0
	for _, r := range results {
		count[r.Verdict]++
		for _, p := range r.Problems {
			if p.Severity == validate.Warning {
				warnings++
			}
		}
	}
	if len(results) == count[validate.Skipped] {
		return fmt.Errorf("validate %s: there is no object in it of which anything is known here",
			strings.Join(c.files, ", "))
	}
	text := fmt.Sprintf("%d valid, %d invalid", count[validate.Valid], count[validate.Invalid])
	if n := count[validate.Skipped]; n > 0 {
		text += fmt.Sprintf(", %d skipped", n)
	}
	if warnings > 0 {
		text += fmt.Sprintf("; warnings: %d", warnings)
	}
	c.say("%s", text)
	if count[validate.Invalid] > 0 {
		return errNo
	}
	return nil
}
