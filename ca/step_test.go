package ca_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"omca/ca"
	"omca/crl"
	"omca/internal/store/mem"
	"omca/pki"
)

// TestClockSetWhilePublishing: a clock that was ahead for a while takes no list away, and dates
// none ahead, for longer than a few moments after it was set right.
func TestClockSetWhilePublishing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, err := openWorld(t, mem.New(), t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		w.bootstrap()
		began, shows := time.Now(), w.now
		pass := func(of, ahead time.Duration) {
			for end := time.Now().Add(of); time.Now().Before(end); {
				time.Sleep(time.Second)
				w.setNow(shows.Add(time.Since(began)).Add(ahead))
				synctest.Wait()
			}
		}
		w.create("system/sec/ca-sub", "cn=Sub", "ca=system/sec/ca")
		w.mustIssue("system/sec/ca-sub")
		w.create("system/usr/alice", "ca=system/sec/ca-sub")
		alice := pki.SerialOf(w.mustIssue("system/usr/alice").Certificate)
		w.revoke(alice, crl.KeyCompromise)
		w.remove("system/sec/ca-sub")
		p := w.NewPublisher()
		w.objects.OnRevoke(p.Add)
		ctx, end := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			p.Run(ctx)
		}()
		pass(time.Minute, 0)
		pass(time.Second, 400*24*time.Hour)
		p.Reload() // something changes meanwhile
		pass(time.Minute, 400*24*time.Hour)
		pass(time.Minute, 0)
		all := p.All()
		if !slices.ContainsFunc(all, func(l ca.PublishedList) bool { return l.Path == "system/sec/ca-sub" && l.Entries == 1 }) {
			t.Errorf("the list of the CA that was deleted is gone: %+v", all)
		}
		for _, l := range all {
			if l.Header.ThisUpdate.After(w.now) {
				t.Errorf("the list of %s is of %v, and it is %v", l.Path, l.Header.ThisUpdate, w.now)
			}
		}
		end()
		<-ended
	})
}
