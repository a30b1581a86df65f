package faults

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"omca/internal/interop/lab"
	"omca/internal/wire"
)

// TestKillForce kills the daemon while a user is recreated from nothing: there is
// the old one or the new one, at any time, and whole.
func TestKillForce(t *testing.T) {
	const rounds = 20
	home := lab.NewHome(t)
	home.Run(t, "init")
	home.Run(t, "system/usr/alice", "create", "--kw", "grant=root", "--kw", "comment=old")
	api, alice := home.Client(t), path(t, "system/usr/alice")
	for round := range rounds {
		d := home.Start(t, "--log-level", "error")
		var killed atomic.Bool
		var force sync.WaitGroup
		begun := make(chan struct{})
		force.Go(func() {
			for i := 0; ; i++ {
				if i == 1 {
					close(begun)
				}
				_, err := api.Create(t.Context(), alice, wire.CreateRequest{Keywords: []string{"grant=root", "comment=new"}, Force: true})
				if err != nil {
					if !killed.Load() {
						t.Errorf("round %d, before the kill: %v", round, err)
					}
					if i == 0 {
						close(begun)
					}
					return
				}
			}
		})
		<-begun
		for range rand.IntN(4) { // somewhere in the middle of something
			if _, err := api.Status(t.Context()); err != nil {
				t.Error(err)
			}
		}
		killed.Store(true)
		d.Kill(t)
		force.Wait()
		if r := home.Try(t, "system/usr/alice", "certificate", "verify"); r.Status != 0 {
			t.Errorf("round %d: %s", round, r.Stderr)
			home.Run(t, "system/usr/alice", "create", "--kw", "grant=root", "--kw", "comment=old")
		}
		if grant := home.Run(t, "system/usr/alice", "get", "--kw", "grant"); grant != "root\n" {
			t.Errorf("round %d: alice's grant is %q", round, grant)
		}
	}
}
