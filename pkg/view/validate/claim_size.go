package validate

import (
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// most is how many devices an allocation can have. API servers take claims that ask for more; the scheduler's allocator
// then refuses them for ever.
const most = resourceapi.AllocationResultsMaxSize

// size warns of what can never be allocated. As in the allocator, a prioritized list counts with its smallest choice,
// and whoever wants all devices wants at least one.
func (f *findings) size(requests []resourceapi.DeviceRequest, at *field.Path) {
	least := 0
	for i := range requests {
		least += atLeast(&requests[i])
	}
	if least > most {
		if len(requests) == 1 && requests[0].Exactly != nil {
			at = at.Index(0).Child("exactly", "count")
		}
		f.warn(at, "at least %d devices are asked for, and a claim can have at most %d: no scheduler allocates this; ask "+
			"for fewer, or make several claims", least, most)
		return
	}
	for i := range requests {
		others := least - atLeast(&requests[i])
		for k, sub := range requests[i].FirstAvailable {
			if n := others + number(sub.AllocationMode, sub.Count); n > most {
				f.warn(at.Index(i).Child("firstAvailable").Index(k).Child("count"), "this choice is never taken: with it the "+
					"claim asks for at least %d devices, and a claim can have at most %d", n, most)
			}
		}
	}
}

// atLeast is how many devices a request wants in any case.
func atLeast(request *resourceapi.DeviceRequest) int {
	if e := request.Exactly; e != nil {
		return number(e.AllocationMode, e.Count)
	}
	least := 0
	for i, sub := range request.FirstAvailable {
		if n := number(sub.AllocationMode, sub.Count); i == 0 || n < least {
			least = n
		}
	}
	return least
}

// number is how many devices are wanted. What no claim can have is not counted further than that it is too many for
// each sum.
func number(mode resourceapi.DeviceAllocationMode, count int64) int {
	if mode == resourceapi.DeviceAllocationModeAll {
		return 1
	}
	const enough = 1_000_000
	return int(min(max(count, 0), enough))
}
