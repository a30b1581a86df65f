package faults

import (
	"strings"
	"testing"

	"omca/internal/interop/lab"
)

// TestStart starts the daemon for the first time and again, which takes no time
// that anybody would notice. How long exactly is for internal/bench to say.
func TestStart(t *testing.T) {
	home := lab.NewHome(t)
	var ca string
	for _, which := range []string{"first", "second"} {
		d := home.Start(t, "--log-level", "warn")
		if d.Took > startTime {
			t.Errorf("the %s start took %v, expected at most %v", which, d.Took, startTime)
		}
		if now := d.CA(t); ca != "" && now != ca {
			t.Errorf("the %s start has made another CA", which)
		} else {
			ca = now
		}
		d.Stop(t)
		if lines := strings.Split(strings.TrimSpace(d.Log()), "\n"); len(lines) != 3 || !strings.Contains(lines[2], " create ") {
			t.Errorf("the %s start says\n%s\nexpected where it listens, the CA, and what to try next", which, d.Log())
		}
	}
}
