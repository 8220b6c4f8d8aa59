//go:build !failpoints

package failpoint

// Before is called before a system call, with what it does and to which file of which directory. An error is to be
// taken for the system call's own, which is then not made.
func Before(_, _, _ string) error { return nil }

// After is called after a system call that went well. An error is to be taken for the system call's own.
func After(_, _, _ string) error { return nil }

// Working is called when work on a claim begins; the result when it ends.
func Working(_ string) (done func()) { return func() {} }
