// Package strict decodes what people write, YAML or JSON, into Go types and finds everything that is wrong with its
// form at once: syntax, apiVersion and kind, duplicate keys, fields that do not exist (naming the right one where only
// the case is wrong) and values of the wrong type, each with its path.
//
// No input makes it panic, recurse deeply or take much more memory than its own size.
//
// The room has two halves, reading (node.go) and deciding (decode.go), which are of no use without each other.
package strict
