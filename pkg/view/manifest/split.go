package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
)

// split takes a source apart into its documents. JSON may be a stream of values, YAML has lines of three dashes.
func split(raw []byte) []*text {
	raw = bytes.TrimPrefix(raw, []byte("\xef\xbb\xbf"))
	if begin := bytes.TrimLeft(raw, " \t\r\n"); len(begin) > 0 && begin[0] == '{' {
		if texts, ok := splitJSON(raw); ok {
			return texts
		}
	}
	var texts []*text
	start, startLine, line := 0, 1, 1
	add := func(end int) {
		if !blank(raw[start:end]) {
			texts = append(texts, &text{raw: raw[start:end], line: startLine, json: json.Valid(raw[start:end])})
		}
	}
	for at := 0; at < len(raw); line++ {
		end := len(raw)
		if i := bytes.IndexByte(raw[at:], '\n'); i >= 0 {
			end = at + i + 1
		}
		if separates(raw[at:end]) {
			add(at)
			start, startLine = end, line+1
		}
		at = end
	}
	add(len(raw))
	return texts
}

// separates says whether a line ends a document: three dashes, with nothing or a comment behind them.
func separates(line []byte) bool {
	rest, ok := bytes.CutPrefix(line, []byte("---"))
	rest = bytes.TrimSpace(rest)
	return ok && (len(rest) == 0 || rest[0] == '#')
}

// blank says whether there is nothing but space and comments.
func blank(raw []byte) bool {
	for line := range bytes.Lines(raw) {
		if line = bytes.TrimSpace(line); len(line) > 0 && line[0] != '#' {
			return false
		}
	}
	return true
}

// splitJSON returns the values of a stream of JSON, and false if it is none: YAML may begin with a brace too.
func splitJSON(raw []byte) ([]*text, bool) {
	var texts []*text
	decoder := json.NewDecoder(bytes.NewReader(raw))
	line, counted := 1, 0
	for {
		var value json.RawMessage
		switch err := decoder.Decode(&value); {
		case errors.Is(err, io.EOF):
			return texts, true
		case err != nil:
			return nil, false
		}
		start := int(decoder.InputOffset()) - len(value)
		line += bytes.Count(raw[counted:start], []byte("\n"))
		counted = start
		texts = append(texts, &text{raw: value, line: line, json: true})
	}
}
