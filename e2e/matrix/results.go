package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Outcome is how a test ended.
type Outcome string

// The outcomes of a test.
const (
	Passed  Outcome = "passed"
	Failed  Outcome = "failed"
	Skipped Outcome = "skipped"
)

func outcomeOf(action string) Outcome {
	switch action {
	case "pass":
		return Passed
	case "skip":
		return Skipped
	}
	return Failed
}

// Result is how one test ended that has no subtests or is about a feature; one line of a file of results.
type Result struct {
	Package string  `json:"package"`
	Test    string  `json:"test"`
	Outcome Outcome `json:"outcome"`
	Shown   Shown   `json:"shown,omitzero"`
}

// appendTo keeps what an earlier run left in the file: whoever begins anew removes it.
func appendTo(path string, results []Result) error {
	var lines bytes.Buffer
	encoder := json.NewEncoder(&lines)
	for _, r := range results {
		if err := encoder.Encode(r); err != nil {
			return fmt.Errorf("encode a result: %w", err)
		}
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("make the directory for results: %w", err)
	}
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("open the file of results: %w", err)
	}
	_, err = file.Write(lines.Bytes())
	if err = errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("write the results: %w", err)
	}
	return nil
}

func readAll(paths []string) (all []Result, err error) {
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf(`read results ("make unit" and "make e2e" write them): %w`, err)
		}
		lines := json.NewDecoder(bytes.NewReader(content))
		for {
			var r Result
			err := lines.Decode(&r)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return nil, fmt.Errorf("read results of %s: %w", path, err)
			}
			all = append(all, r)
		}
	}
	return all, nil
}
