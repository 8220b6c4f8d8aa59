// Package dir is the files of one directory in which several processes work, and whose names come partly from outside.
// It is the one place that knows how such a file is replaced, removed and locked, and what can be done when that does
// not work.
//
// # Names
//
// A name is that of a file directly in the directory. What is none (a path, "..", nothing) is refused before any system
// call. What opens or changes something does so through an [os.Root] of the directory, which no symbolic link leads out
// of either.
//
// # What is remembered
//
// Nothing: the directory is opened for each operation. So one that somebody removed and made again is the new one, and
// nothing is ever written where nobody looks for it. While it is missing, what only reads finds nothing, what removes
// has nothing to do, and what writes returns an error for which errors.Is(err, fs.ErrNotExist) is true; see [Dir.Make].
//
// # What survives what
//
// A file appears with all of its content or not at all, also if the process dies at any moment. Nothing is flushed to
// disk.
package dir
