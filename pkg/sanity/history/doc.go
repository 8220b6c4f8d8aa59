// Package history judges what a driver answered and left behind, whatever was done to it. A plan of operations is
// generated from a seed and played against a world; a model of the kubelet's view says after each operation whether
// some order of what happened keeps the invariants:
//
//	I1 what was answered for a prepared claim resolves      I2, I4 an unprepared claim leaves nothing behind
//	I3 an exclusive device has one owner                    I5 a repeated call gets the same answer
//	I6 and all of that after the driver was killed          I7 or after the node was rebooted
//
// and that a call succeeds where nothing stands in its way. A plan that fails is shortened until no operation can be
// taken out. The package knows no driver, no API server and no files; the world does.
//
// The room is larger than others because what may happen, what follows from it and how to shorten it are one model.
package history
