package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"
)

// outputFormat is the flag -o of a command: one of a few words, the first of which is what people get who do not say.
type outputFormat struct {
	value  string
	others []string
}

func newOutputFormat(usual string, others ...string) *outputFormat {
	return &outputFormat{value: usual, others: append([]string{usual}, others...)}
}

// add gives a command the flag, with completion.
func (o *outputFormat) add(command *cobra.Command) {
	command.Flags().VarP(o, "output", "o", "How to print the answer: "+strings.Join(o.others, ", "))
	_ = command.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(o.others, cobra.ShellCompDirectiveNoFileComp))
}

// Set is called with what follows -o.
func (o *outputFormat) Set(value string) error {
	if !slices.Contains(o.others, value) {
		return fmt.Errorf("there are: %s", strings.Join(o.others, ", "))
	}
	o.value = value
	return nil
}

// String returns the format.
func (o *outputFormat) String() string { return o.value }

// Type is the word for the flag's value in the help.
func (o *outputFormat) Type() string { return "format" }

// printObject prints an answer for machines to stdout; format is json or yaml.
func (s *session) printObject(format string, v any) error {
	var text []byte
	var err error
	if format == "yaml" {
		text, err = yaml.Marshal(v)
	} else {
		text, err = json.MarshalIndent(v, "", "    ")
		text = append(text, '\n')
	}
	if err != nil {
		return fmt.Errorf("print %s: %w", format, err)
	}
	_, err = s.streams.Out.Write(text)
	return err
}
