package agreement

import (
	"strings"
	"testing"
)

func TestTheSameSeedMakesTheSameQuestions(t *testing.T) {
	all := map[string]int{}
	for _, s := range setups() {
		for number := range 20 {
			first, err := generate(1, number, s.has).yaml()
			if err != nil {
				t.Fatal(err)
			}
			again, err := generate(1, number, s.has).yaml()
			if err != nil {
				t.Fatal(err)
			}
			if first != again {
				t.Errorf("%s: question %d is not the same again", s.name, number)
			}
			other, err := generate(2, number, s.has).yaml()
			if err != nil {
				t.Fatal(err)
			}
			if first == other {
				t.Errorf("%s: question %d is the same with another seed", s.name, number)
			}
			all[first]++
		}
	}
	if len(all) < 50 {
		t.Errorf("60 questions are %d different ones", len(all))
	}
}

// What there is of each feature in the questions that are asked, as words of their files.
func TestQuestionsHoldEveryFeature(t *testing.T) {
	words := []string{
		"allocationMode: All", "firstAvailable:", "adminAccess: true", "matchAttribute:", "selectors:", "nodeSelector:",
		"allNodes: true", "resourceClaimTemplateName:", "resourceClaimName:", "nobody-has-it", "name: gone-0",
		"unschedulable: true", "PreferNoSchedule", "reservedFor:", "device.driver ==", "semver(",
	}
	gated := []string{
		"kind: DeviceTaintRule", "effect: NoExecute", "tolerations:\n", "sharedCounters:", "consumesCounters:",
		"perDeviceNodeSelection: true", "allowMultipleAllocations: true", "validRange:", "validValues:", "consumedCapacity:",
		"extendedResourceName:", "deviceclass.resource.kubernetes.io/",
	}
	newest := []string{"distinctAttribute:", "effect: None", "allocationTimestamp:"}
	for _, s := range setups() {
		t.Run(s.name, func(t *testing.T) {
			wanted := words
			if s.has.shares {
				wanted = append(wanted, gated...)
			}
			if !s.has.old {
				wanted = append(wanted, newest...)
			}
			found := map[string]int{}
			for number := range *cases {
				text, err := generate(*seed, number, s.has).yaml()
				if err != nil {
					t.Fatal(err)
				}
				for _, word := range wanted {
					if strings.Contains(text, word) {
						found[word]++
					}
				}
			}
			for _, word := range wanted {
				if found[word] < 2 {
					t.Errorf("%q is in %d of %d questions", word, found[word], *cases)
				}
			}
		})
	}
}
