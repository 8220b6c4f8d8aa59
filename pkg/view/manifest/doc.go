// Package manifest reads Kubernetes objects from files, folders and standard input: YAML or JSON, several documents in
// a file, lists, streams of JSON. Each object comes with the place where it was written, and with all that is wrong
// with its form: fields that do not exist (with the one that was probably meant), fields given twice, values of the
// wrong type. What an object means is for others to judge.
//
// Text is read as kubectl reads it: YAML 1.1, in which a plain yes is a boolean.
//
// No input makes it panic, recurse deeply, or take much more memory than some times its size.
//
// The room has more than 500 lines: YAML and JSON each have a parser that keeps the line of every field, which those of
// the libraries lose.
package manifest
