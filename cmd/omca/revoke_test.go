package main

import (
	"testing"

	"omca/crl"
)

func TestReasonName(t *testing.T) {
	for _, r := range crl.Reasons() {
		if got := reasonName(int(r)); got != r.String() {
			t.Errorf("reason %d is %q, want %q", r, got, r)
		}
	}
	for code, want := range map[int]string{7: "7", 11: "11", -1: "-1"} {
		if got := reasonName(code); got != want {
			t.Errorf("reason %d is %q, want %q", code, got, want)
		}
	}
}
