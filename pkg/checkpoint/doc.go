// Package checkpoint is the memory of what is prepared on this node: one small file per claim, one marker per device
// that a claim holds, one lock per claim. Several processes may use one directory at the same time; none trusts what it
// read in an earlier call. The room knows nothing of devices, of CDI or of the API server, and does not log.
//
// # Layout
//
//	epoch                               which boot the rest belongs to
//	claims/<uid>.json                   the records
//	owners/<device>-<hash of pool>      the markers, see [Store.Hold]
//	owners/<device>-<hash>/<share>      the same for shares of a device, in a directory that goes with the last one
//	locks/<uid>                         what somebody locks who works on the claim
//	quarantine/<uid>.<n>.json           records that could not be read
//	quarantine/<uid>.<n>.json.resolved  the same, after the claim was deleted
//
// # What survives what
//
// A record is written beside its file and renamed over it, a marker is made by one system call. So the death of a
// process at any moment leaves the old or the new state, never half of one. Nothing is flushed to disk: what the
// records describe (device nodes, CDI files, containers) ends with the boot, and [Open] drops the records that an
// earlier boot left. Put the directory on tmpfs.
//
// Only the epoch says which boot the rest belongs to. So who removes that file alone while the driver does not run has
// the next Open drop all records and markers, as after a reboot: nothing could tell them from old ones. A driver that
// runs puts it back when it next makes a directory.
//
// # Unfinished files
//
// An unfinished record has one fixed name per claim and is written only under the claim's lock. So the next Put or
// Delete of the claim removes it, and Open does if it can have the claim's lock at once, that is: if nobody, in this
// process or another one, may still be writing it. The age of a file says nothing, clocks jump.
//
// # What an unreadable record costs
//
// The markers still say which devices the claim holds, and that is enough to take it back; what the backend had said
// about undoing its changes is lost with the record, and a backend must do without. There is no second copy of it: a
// record is replaced whole, so what spoils one (a bug, a disk) would spoil the copy as well.
//
// # Format of a record
//
// The first line names the format and holds the SHA-256 of all bytes that follow; the rest is JSON:
//
//	dragoman-record/v1 sha256:5b8c…
//	{"claim":{"namespace":"team-a","name":"train-0","uid":"…"},"state":"Prepared","devices":[…],"cdiSpec":{…}}
//
// Fields that this version does not know, of the record and of each device, survive being read and written. What old
// versions cannot ignore needs a new number in the first line; testdata/ holds a file of each released format.
//
// The room is larger than others because records, markers, locks and the epoch are safe only together.
package checkpoint
