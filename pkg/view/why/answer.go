package why

import "time"

// State says where a pod or a claim is on its way to its devices.
type State string

// The states.
const (
	// Waiting: something stands in the way. Reasons or Requests say what.
	Waiting State = "Waiting"
	// Possible: the devices are there now, but nobody has allocated them yet.
	Possible State = "Possible"
	// Starting: the devices are allocated, and the pod does not run yet.
	Starting State = "Starting"
	// Running: the pod runs with its devices; of a claim, its devices are allocated.
	Running State = "Running"
	// Unknown: what could not be seen decides. Reasons say what, and the right that it takes.
	Unknown State = "Unknown"
	// Finished: the pod has ended.
	Finished State = "Finished"
)

// Answer is what there is to say about one pod or claim. In JSON and YAML, its fields are those of `kubectl dra why`.
type Answer struct {
	// Kind is Pod or ResourceClaim.
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	State     State  `json:"state"`
	// Summary is one sentence, without a period.
	Summary string `json:"summary"`
	// Reasons stand in the way, or explain, most important first.
	Reasons []Reason `json:"reasons,omitempty"`
	// Unfit are the nodes that do not fit the pod whatever devices they have. They are not in Requests.
	Unfit []NodeGroup `json:"unfitNodes,omitempty"`
	// Requests are those of claims without devices, in the order of the pod and the claims; of a prioritized list, each
	// choice.
	Requests []Request `json:"requests,omitempty"`
	// Joint says why requests that can be met each cannot be met together.
	Joint []string `json:"together,omitempty"`
	// Fits are nodes that could give all that is asked for, those of a waiting pod are of what it asks for except for
	// Reasons. FitCount is how many there are; Fits has the first few.
	Fits     []string `json:"fits,omitempty"`
	FitCount int      `json:"fitCount,omitempty"`
	// ClaimsUnseen says that claims which could not be seen may have what is left.
	ClaimsUnseen bool `json:"claimsUnseen,omitempty"`
	// Got are the claims with devices.
	Got []Got `json:"got,omitempty"`
	// Next is what would help, the smallest change first. Each was tried with the scheduler's allocator, unless Tried is
	// false.
	Next []Remedy `json:"next,omitempty"`
	// SearchCut says that not all changes were tried, because that would take too long: others may help too.
	SearchCut bool `json:"searchCut,omitempty"`
	// Scheduler is the scheduler's own last answer, if it was no and is not among Reasons.
	Scheduler *Quote `json:"scheduler,omitempty"`
	// NotCovered says what could not be seen, and so what the answer does not take into account.
	NotCovered []string `json:"notCovered,omitempty"`
}

// Reason is one thing that stands in the way, or explains.
type Reason struct {
	ID ReasonID `json:"id"`
	// Object is what it is about, for example `ResourceClaim team-a/gpus`.
	Object string `json:"object,omitempty"`
	// Text is one sentence, without a period.
	Text string `json:"text"`
	// Quotes are sentences of others, as they wrote them.
	Quotes []Quote `json:"quotes,omitempty"`
}

// Quote is what somebody else said: an event or a condition.
type Quote struct {
	// From is who said it, for example "kubelet" or "scheduler".
	From string `json:"from"`
	// Reason is the event's or condition's word, for example "FailedPrepareDynamicResources".
	Reason string `json:"reason,omitempty"`
	Text   string `json:"text"`
	// Count is how often it was said, and Last when it was said last; zero if unknown.
	Count int32     `json:"count,omitempty"`
	Last  time.Time `json:"last,omitzero"`
}

// NodeGroup are nodes of which the same is to say.
type NodeGroup struct {
	// Nodes are all of them, sorted.
	Nodes []string `json:"nodes"`
	Text  string   `json:"text"`
}

// Request is the story of one request, or of one choice of a prioritized list.
type Request struct {
	// Claim is namespace/name, or the pod's name for the claim where a template will make it.
	Claim string `json:"claim"`
	// Name is that of the request, or request/choice.
	Name  string `json:"request"`
	Class string `json:"class"`
	// Wants is what is asked for, for example `2 devices of class gpu.example.com`.
	Wants string `json:"wants"`
	// Needed is how many devices; 0 means all that match.
	Needed      int64 `json:"needed"`
	AdminAccess bool  `json:"adminAccess,omitempty"`
	// Devices is how many devices are published on nodes that were looked at, each once; Lost and Left add up to it.
	Devices int    `json:"devices"`
	Lost    []Loss `json:"lost,omitempty"`
	Left    int    `json:"left"`
	// Selectors are the class's and the request's expressions, in the order in which they are asked.
	Selectors []Selector `json:"selectors,omitempty"`
	// Nodes are the same funnel by nodes; those with the same story are together, most interesting first.
	Nodes []NodeStory `json:"nodes,omitempty"`
	// Enough says that there is a node where the request alone has enough devices left.
	Enough bool `json:"enough"`
}

// Selector is what one expression did.
type Selector struct {
	// From is "class" or "request".
	From string `json:"from"`
	// Index counts from 0 in the class or the request.
	Index      int    `json:"index"`
	Expression string `json:"expression"`
	// Asked is how many devices it was asked about, and Lost how many of them it is not true for.
	Asked int `json:"asked"`
	Lost  int `json:"lost"`
	// Errors is on how many devices it cannot be evaluated; Error is what CEL says on the first of them, Device.
	Errors int    `json:"errors,omitempty"`
	Error  string `json:"error,omitempty"`
	Device string `json:"device,omitempty"`
	// Conditions are the parts of the expression that are joined by "and" and that are true for none of the devices
	// asked about, or the whole.
	Conditions []Condition `json:"conditions,omitempty"`
}

// Condition is one part of an expression, with what the devices have where it looks.
type Condition struct {
	Expression string `json:"expression"`
	// Holds is how many of the devices asked about it is true for.
	Holds int `json:"holds"`
	// Looks are the attributes and capacities that it names.
	Looks []Look `json:"looks,omitempty"`
}

// Look is one attribute or capacity that an expression names.
type Look struct {
	Name string `json:"name"`
	// On is how many of the devices asked about have it.
	On int `json:"devices"`
	// DidYouMean is the nearest name that they have, as CEL has it, where none has Name.
	DidYouMean string `json:"didYouMean,omitempty"`
	// Values are what they have there, as CEL writes it: the most frequent first, a few.
	Values []string `json:"values,omitempty"`
	// MoreValues is how many others there are.
	MoreValues int `json:"moreValues,omitempty"`
}

// Stage is where a device is lost to a request, in the order in which it is asked. A device is lost once.
type Stage string

// The stages.
const (
	StagePool     Stage = "poolIncomplete" // or invalid: nothing is allocated from it
	StageClass    Stage = "class"
	StageSelector Stage = "selector"
	StageError    Stage = "selectorError"
	StageInUse    Stage = "inUse"
	StageCapacity Stage = "capacity"
	StageCounters Stage = "counters"
	StageTaint    Stage = "taint"
)

// Loss is how many devices were lost at one stage.
type Loss struct {
	Stage   Stage `json:"stage"`
	Devices int   `json:"devices"`
	// Details say by whom or by what, for example "team-a/train-0" or "gpu.example.com/unhealthy:NoSchedule"; a few.
	Details []string `json:"details,omitempty"`
	// More is how many more details there are.
	More int `json:"more,omitempty"`
}

// NodeStory is the funnel on nodes where it is the same.
type NodeStory struct {
	// Nodes are all of them, sorted.
	Nodes []string `json:"nodes"`
	// Devices, Lost and Left are of all the nodes together. A device that several nodes share counts for each.
	Devices int    `json:"devices"`
	Lost    []Loss `json:"lost,omitempty"`
	Left    int    `json:"left"`
	// Same says that the numbers are the same on each of the nodes.
	Same bool `json:"same"`
	// Enough says that each of the nodes has as many left as the request needs.
	Enough bool `json:"enough"`
}

// Got is a claim with devices, and why those.
type Got struct {
	Claim   string    `json:"claim"`
	Devices []GotDev  `json:"devices"`
	Users   []string  `json:"users,omitempty"`
	Since   time.Time `json:"since,omitzero"`
	// Why says for each request why these devices, as things are now; of a claim alone, and of a pod that runs.
	Why []Ground `json:"why,omitempty"`
	// Choices says for each prioritized list which choice was taken, and what of those before it.
	Choices []Choice `json:"choices,omitempty"`
	// Node says where the devices can be used.
	Node string `json:"node,omitempty"`
}

// GotDev is an allocated device.
type GotDev struct {
	Request string `json:"request"`
	Driver  string `json:"driver"`
	Pool    string `json:"pool"`
	Device  string `json:"device"`
	// AdminAccess devices are looked at, not used.
	AdminAccess bool `json:"adminAccess,omitempty"`
	// Takes is what is consumed of a shared device's capacity, for example "memory 10Gi".
	Takes []string `json:"takes,omitempty"`
	// Notes are what is wrong with the device or what there is to know of it now.
	Notes []string `json:"notes,omitempty"`
}

// Ground is why a request got its devices.
type Ground struct {
	// Request is its name, or request/choice.
	Request string `json:"request"`
	// Why is a sentence, without a period.
	Why string `json:"why"`
}

// Choice is which of a prioritized list was taken.
type Choice struct {
	Request string `json:"request"`
	Taken   string `json:"taken"`
	// Before are the choices that come first, with why not.
	Before []NotTaken `json:"before,omitempty"`
}

// NotTaken is a choice that was preferred and not taken. Why is how things are now, not when it was allocated.
type NotTaken struct {
	Choice string `json:"choice"`
	Why    string `json:"why"`
}

// Remedy is one change that would help.
type Remedy struct {
	Kind RemedyKind `json:"kind"`
	// Text is an instruction, for example `ask for count: 1`.
	Text string `json:"text"`
	// Node is one that could take the pod then.
	Node string `json:"node,omitempty"`
	// Tried says that the scheduler's allocator says yes with it.
	Tried bool `json:"tried"`
}
