// Package dir is the files of one directory in which several processes work, and whose names come partly from outside.
// It is the one place that knows how such a file is replaced, removed and locked, and what can be done when that does
// not work. The room is larger than others because each system call is made here by path, and not by the library.
//
// # Names
//
// A name is that of a file directly in the directory. What is none (a path, "..", nothing) is refused before any system
// call. What remains cannot lead out of the directory by a symbolic link either: most system calls do not follow the
// last part of a path, opening is told not to, and what must look into folders or behind links does so through an
// [os.Root].
//
// # What is remembered
//
// Nothing: each system call has the path of the directory. So one that somebody removed and made again is the new one,
// and nothing is ever written where nobody looks for it. While it is missing, what only reads finds nothing, what
// removes has nothing to do, and what writes returns an error for which errors.Is(err, fs.ErrNotExist) is true; see
// [Dir.Make].
//
// # What survives what
//
// A file appears with all of its content or not at all, also if the process dies at any moment. Nothing is flushed to
// disk.
package dir
