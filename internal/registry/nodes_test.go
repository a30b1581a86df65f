package registry_test

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"omca/internal/registry"
	"omca/internal/store"
	"omca/internal/store/mem"
)

// TestFollowNodes: who comes and goes is told, and so is each clock that is shown from
// then on; none of it is in a backup, or is a change of an object.
func TestFollowNodes(t *testing.T) {
	at := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	synctest.Test(t, func(t *testing.T) {
		db := mem.New()
		s := newStore(t, db, fileMaster(t))
		create(t, s, "root/ccfg/cluster", "cluster.name=testers")
		commit := func(puts ...store.Put) {
			t.Helper()
			if _, err := db.Commit(t.Context(), store.Tx{Puts: puts}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		show := func(node string, at time.Time) store.Put {
			put, err := registry.NodeClock{Node: node, Shows: at}.Put()
			if err != nil {
				t.Fatal(err)
			}
			return put
		}
		commit(show("n0", at)) // before anybody follows: how long before is not known
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		changes := 0
		var shown []registry.NodeClock
		go func() {
			ended <- s.FollowNodes(ctx, func() { changes++ }, func(c registry.NodeClock) { shown = append(shown, c) })
		}()
		synctest.Wait()
		node, err := registry.Node{Name: "n1", StartedAt: at}.Put()
		if err != nil {
			t.Fatal(err)
		}
		commit(node)
		commit(show("n1", at), show("n2", at.Add(time.Hour)))
		commit(store.Put{Key: "clock/n3", Value: []byte("half past")}) // it is left out
		commit(show("n1", at.Add(time.Second)))
		create(t, s, "ns1/sec/web")
		synctest.Wait()
		if want := []registry.NodeClock{{"n1", at}, {"n2", at.Add(time.Hour)}, {"n1", at.Add(time.Second)}}; !slices.Equal(shown, want) || changes != 2 {
			t.Errorf("%d changes, clocks %v, want %v", changes, shown, want)
		}
		if saved := backup(t, s); bytes.Contains(saved, []byte("clock/")) || bytes.Contains(saved, []byte("node/n1")) || !bytes.Contains(saved, []byte("ns1/sec/web")) {
			t.Error("what ends with a process is in a backup")
		}
		if err := s.ForgetNode(t.Context(), "n1"); err != nil {
			t.Fatal(err)
		}
		for key := range everything(t, db) {
			if strings.HasSuffix(key, "/n1") {
				t.Errorf("%s is left of a node that was removed", key)
			}
		}
		cancel()
		<-ended
	})
}
