package ca_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"omca/ca"
	"omca/crl"
	"omca/internal/object"
	"omca/pki"
)

// sharing is a publisher that has published, beside others of the same CAs.
func (w *world) sharing(chosen func() bool) *ca.Publisher {
	w.t.Helper()
	p := w.NewPublisher()
	p.Share(chosen)
	w.objects.OnRevoke(p.Add)
	w.publish(p)
	return p
}

// says is a list in short: its number, its date, what is on it.
func (w *world) says(p *ca.Publisher) string {
	w.t.Helper()
	v, err := w.list(p, "ca").Read()
	if err != nil {
		w.t.Fatal(err)
	}
	var serials []string
	for e := range v.Entries() {
		serials = append(serials, string(e.Serial))
	}
	slices.Sort(serials)
	return fmt.Sprintf("%s of %s: %s", v.Header().Number, v.Header().ThisUpdate.Format(time.RFC3339), strings.Join(serials, " "))
}

// Several publish the lists of one CA. The chosen one numbers them, and whoever
// makes the list of a number makes the same one: however much more is known to it by
// then, and also when it has just been started.
func TestPublishersAgree(t *testing.T) {
	w := bootstrapped(t)
	first := true
	one := w.sharing(func() bool { return first })
	two := w.sharing(func() bool { return !first })
	if a, b := w.says(one), w.says(two); a != b {
		t.Fatalf("%q and %q", a, b)
	}
	w.create("system/usr/alice")
	w.create("system/usr/bob")
	a, b := pki.SerialOf(w.mustIssue("system/usr/alice").Certificate), pki.SerialOf(w.mustIssue("system/usr/bob").Certificate)
	w.revoke(a, crl.KeyCompromise)
	w.setNow(w.now.Add(time.Hour))
	w.publish(one)
	want := w.says(one)
	w.revoke(b, crl.Superseded)
	w.publish(two) // it knows of both by now
	three := w.sharing(func() bool { return false })
	for name, p := range map[string]*ca.Publisher{"the second": two, "one that was started later": three} {
		if got := w.says(p); got != want {
			t.Errorf("%s has the list %q, expected %q", name, got, want)
		}
	}
	first = false // the other one is chosen
	w.publish(two)
	w.publish(one)
	w.publish(three)
	next := w.says(two)
	if !strings.Contains(next, string(a)) || !strings.Contains(next, string(b)) || next == want {
		t.Errorf("the next list is %q", next)
	}
	for _, p := range []*ca.Publisher{one, three} {
		if got := w.says(p); got != next {
			t.Errorf("%q and %q", got, next)
		}
	}
}

// TestRecordedBeforeTold: when a new CA is told of, it is on record already for those
// who look then, whatever was read before.
func TestRecordedBeforeTold(t *testing.T) {
	w := bootstrapped(t)
	var told []int
	w.objects.OnChange(func(object.Path) {
		known, err := w.OnRecord(t.Context())
		if err != nil {
			t.Error(err)
		}
		told = append(told, len(known))
	})
	w.create("ns1/sec/sub", "profile=ca", "cn=Sub CA")
	if _, err := w.OnRecord(t.Context()); err != nil { // and is remembered
		t.Fatal(err)
	}
	told = nil
	w.mustIssue("ns1/sec/sub")
	if len(told) == 0 || slices.Min(told) != 2 {
		t.Errorf("CAs on record when the change was told: %v, expected 2 each time", told)
	}
}
