// Package prepare carries out what a claim asks for and takes it back. It decides nothing about configurations (package
// claim does) and knows no hardware (device.Backend does): it sees to it that what is remembered, what the hardware
// does and what the container runtime reads fit together, whatever happens between any two lines.
//
// # Order
//
// Prepare: lock the claim, record the intent, hold the devices, let the backend act, write the CDI file, record the
// proof, answer. A backend's change of hardware is in the record before it is made. Unprepare runs backwards: the CDI
// file goes first, so that no container can start with a device that is half taken back, and the record goes last.
// What is missing counts as done, and nothing in Unprepare needs free space or the API server.
//
// Both can die anywhere, and both can be called again, by another process too: nothing is kept in memory between calls.
// A repeated Prepare asks the backend again, makes again what is missing, and gives the same answer.
//
// # What holds at every moment
//
// An effect of a claim has a record (I2), and a device that a claim may have changed has that claim's marker (I3): it
// is set before the first effect and removed after the last one is undone. So a claim that finds another one's marker
// on its device has no effect there, and leaves the device alone when it is taken back.
//
// A device is held as a whole by one claim, or in shares by several. The marker of a share says what it takes of the
// device's capacities, so that all shares of a device can be added up without looking at other claims. A claim holds
// its shares before it adds up: of two that come at the same time and do not both fit, one at least is refused, and
// maybe both, until the kubelet tries again.
//
// # When the record of a claim cannot be read
//
// The claim's markers still say which devices it holds. Prepare makes a new record and lets the backend converge;
// Unprepare gives the backend grants without Undo and asks a [device.Sweeper] to remove the rest. The same holds if
// somebody removed the record: nothing that dies leaves a marker, a CDI file or an effect without one.
//
// # What is put right without a call
//
// [Preparer.Restore] at the start of a process, [Preparer.Repair] now and then, [Preparer.RepairFiles] every few
// seconds. Only the first removes anything for want of a record, and never what a marker of this boot says is a
// claim's: a container may be using it. Claims that do not exist any more are for the caller to find and to take back.
//
// The room is larger than others because preparing, taking back and restoring share one order of effects, and the
// argument that it is safe is about all three at once.
package prepare
