package main

import (
	"os"
	"regexp"
	"strconv"
	"testing"
)

// resident is how many kB of files the process has mapped.
func resident(t *testing.T) int {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^RssFile:\s+(\d+) kB$`).FindSubmatch(status)
	if m == nil {
		t.Fatalf("no RssFile in %s", status)
	}
	n, err := strconv.Atoi(string(m[1]))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// What a start has touched of the program is given back, and the program goes on.
func TestReleaseProgram(t *testing.T) {
	before := resident(t)
	releaseProgram()
	if after := resident(t); after > before*3/4 {
		t.Errorf("%d kB of files before, %d kB after", before, after)
	}
}
