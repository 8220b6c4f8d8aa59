// Package mask takes secrets out of what is to be shown to others: out of objects, by the names of their fields, and
// out of text, by what it calls them and by their look. It errs on the side of masking, and leaves alone what people
// need to understand trouble: messages, names, UUIDs, versions.
//
// It is pure. The room has almost 900 lines: the ways in which programs write that something has a value.
package mask
