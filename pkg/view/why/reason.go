package why

// ReasonID is a stable name of a reason, for programs.
type ReasonID string

// What stands in the way before devices are chosen.
const (
	SchedulingGated         ReasonID = "SchedulingGated"
	NotAtScheduler          ReasonID = "NotAtScheduler"
	SchedulerUnknown        ReasonID = "SchedulerUnknown"
	TemplateMissing         ReasonID = "TemplateMissing"
	ClaimNotCreated         ReasonID = "ClaimNotCreated"
	ClaimRefused            ReasonID = "ClaimRefused"
	AdminAccessNotAllowed   ReasonID = "AdminAccessNotAllowed"
	ClaimMissing            ReasonID = "ClaimMissing"
	ClaimOfAnotherPod       ReasonID = "ClaimOfAnotherPod"
	ClaimBeingDeleted       ReasonID = "ClaimBeingDeleted"
	ClaimFull               ReasonID = "ClaimFull"
	ClaimTooOld             ReasonID = "ClaimTooOld"
	ClaimNamedTwice         ReasonID = "ClaimNamedTwice"
	ClaimElsewhere          ReasonID = "ClaimElsewhere"
	ClaimUnused             ReasonID = "ClaimUnused"
	ClassMissing            ReasonID = "ClassMissing"
	NoSlices                ReasonID = "NoSlices"
	NoSlicesOfDriver        ReasonID = "NoSlicesOfDriver"
	ExtendedResourceUnknown ReasonID = "ExtendedResourceUnknown"
	NoDevicesAskedFor       ReasonID = "NoDevicesAskedFor"
)

// What stands in the way when devices are chosen.
const (
	FeatureOff       ReasonID = "FeatureOff"
	SelectorError    ReasonID = "SelectorError"
	PoolIncomplete   ReasonID = "PoolIncomplete"
	PoolInvalid      ReasonID = "PoolInvalid"
	PodUnfit         ReasonID = "PodUnfit"
	NotEnough        ReasonID = "NotEnough"
	Constraint       ReasonID = "Constraint"
	Together         ReasonID = "Together"
	TakesTooLong     ReasonID = "TakesTooLong"
	TooManyDevices   ReasonID = "TooManyDevices"
	AllocatorError   ReasonID = "AllocatorError"
	OtherThanDevices ReasonID = "OtherThanDevices"
	NotYetTried      ReasonID = "NotYetTried"
	CannotTell       ReasonID = "CannotTell"
)

// What stands in the way, or what there is to know, once devices were chosen.
const (
	BindingConditions   ReasonID = "BindingConditions"
	DriverNotRegistered ReasonID = "DriverNotRegistered"
	PrepareFailing      ReasonID = "PrepareFailing"
	BoundByHand         ReasonID = "BoundByHand"
	PodTerminating      ReasonID = "PodTerminating"
)

// RemedyKind is a stable name of a change, for programs. The order below is the order in which they are proposed.
type RemedyKind string

// The changes.
const (
	FixSelector    RemedyKind = "FixSelector"
	FixClass       RemedyKind = "FixClass"
	LabelNamespace RemedyKind = "LabelNamespace"
	AskForFewer    RemedyKind = "AskForFewer"
	AskForLess     RemedyKind = "AskForLess"
	WaitFor        RemedyKind = "WaitFor"
	Tolerate       RemedyKind = "Tolerate"
	AllowNodes     RemedyKind = "AllowNodes"
	DropConstraint RemedyKind = "DropConstraint"
	DropSelector   RemedyKind = "DropSelector"
	OtherValue     RemedyKind = "OtherValue"
	OtherClass     RemedyKind = "OtherClass"
	Do             RemedyKind = "Do" // outside allocation: what to look at or to make
)
