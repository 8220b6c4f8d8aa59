package main

import (
	"net/http/httptest"
	"strings"
	"testing"

	"example.com/dragoman/pkg/driver"
	"example.com/dragoman/pkg/prepare"
	"example.com/dragoman/pkg/status"
	"example.com/dragoman/pkg/telemetry"
)

// TestFiguresHaveAllLabels: telemetry knows no other room, so that its closed sets are theirs is to be seen here.
func TestFiguresHaveAllLabels(t *testing.T) {
	answer := httptest.NewRecorder()
	telemetry.NewMetrics(telemetry.Build{}).Handler().ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	want := []string{}
	for _, action := range prepare.Actions() {
		want = append(want, `dragoman_reconciled_total{action="`+string(action)+`"} 0`)
	}
	for _, reason := range driver.UnsettledReasons() {
		want = append(want, `dragoman_unsettled_claims{reason="`+string(reason)+`"} 0`)
	}
	for _, result := range status.Results() {
		want = append(want, `dragoman_claim_status_writes_total{result="`+string(result)+`"} 0`)
	}
	for _, line := range want {
		if !strings.Contains(answer.Body.String(), line+"\n") {
			t.Errorf("there is no %s", line)
		}
	}
}
