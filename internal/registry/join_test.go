package registry_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"omca/internal/join"
	"omca/internal/registry"
	"omca/internal/store"
	"omca/internal/store/mem"
)

func joinRecord(n string, expires time.Time) join.Record {
	return join.Record{ID: strings.Repeat(n, 32), Expires: expires, Cluster: "c", ProofKey: bytes.Repeat([]byte("proof-key"), 4)[:32], SealKey: bytes.Repeat([]byte{7}, 32), By: "root"}
}

// A token is spent once, whichever node is asked, and is nowhere in clear.
func TestJoinTokens(t *testing.T) {
	db, master := mem.New(), fileMaster(t)
	here, there := newStore(t, db, master).JoinTokens(), newStore(t, db, master).JoinTokens()
	far := time.Now().Add(1000 * time.Hour)
	want := joinRecord("a", far)
	if err := here.Add(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	page, err := db.Scan(t.Context(), store.Range{Prefix: "join/"})
	if err != nil || len(page.Entries) != 1 || bytes.Contains(page.Entries[0].Value, want.ProofKey[:9]) {
		t.Errorf("in the store: %d entries, %v; the key in clear?", len(page.Entries), err)
	}
	got, rev, err := there.Token(t.Context(), want.ID)
	if err != nil || !bytes.Equal(got.ProofKey, want.ProofKey) || !got.Expires.Equal(want.Expires) {
		t.Errorf("read %+v, %v", got, err)
	}
	if err := there.Spend(t.Context(), want.ID, rev); err != nil {
		t.Fatal(err)
	}
	if err := here.Spend(t.Context(), want.ID, rev); !errors.Is(err, join.ErrRefused) {
		t.Errorf("spent again: %v", err)
	}
	for _, id := range []string{want.ID, "", "../keyring", strings.Repeat("b", 32)} {
		if _, _, err := here.Token(t.Context(), id); !errors.Is(err, join.ErrRefused) {
			t.Errorf("token %q: %v", id, err)
		}
	}
	// What has expired goes when another one comes.
	for _, r := range []join.Record{joinRecord("c", time.Unix(1000, 0)), joinRecord("d", far)} {
		if err := here.Add(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := here.Token(t.Context(), strings.Repeat("c", 32)); !errors.Is(err, join.ErrRefused) {
		t.Errorf("an expired token: %v", err)
	}
	if page, err = db.Scan(t.Context(), store.Range{Prefix: "join/"}); err != nil || len(page.Entries) != 1 {
		t.Errorf("%d records are left, %v", len(page.Entries), err)
	}
}

// What a node is asked to do it hears in order, what was asked before it listened
// first, and nobody else's.
func TestTasks(t *testing.T) {
	db, master := mem.New(), fileMaster(t)
	asker, node := newStore(t, db, master), newStore(t, db, master)
	ask := func(node, do string) {
		t.Helper()
		if err := asker.Ask(t.Context(), registry.Task{Node: node, Do: do, By: "root"}); err != nil {
			t.Fatal(err)
		}
	}
	ask("n1", registry.DoDrain)
	ask("n10", registry.DoStop)
	heard := make(chan registry.Task)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- node.FollowTasks(ctx, "n1", func(task registry.Task) error {
			heard <- task
			return errors.New("which is logged, and no end")
		})
	}()
	next := func(do string) registry.Task {
		t.Helper()
		select {
		case got := <-heard:
			if got.Node != "n1" || got.Do != do || got.State != registry.TaskAsked {
				t.Errorf("heard %+v, expected %s", got, do)
			}
			return got
		case <-time.After(20 * time.Second):
			t.Fatalf("%s is not heard", do)
			return registry.Task{}
		}
	}
	next(registry.DoDrain)
	ask("n1", registry.DoResume)
	task := next(registry.DoResume)
	ask("n2", registry.DoStop)
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %v", err)
	}
	task.State = registry.TaskTaken
	taken, err := node.Move(t.Context(), task)
	if err != nil || !taken.Pending() || taken.Same(task) {
		t.Fatalf("taken: %+v, %v", taken, err)
	}
	if _, err := node.Move(t.Context(), task); err == nil {
		t.Error("taken twice")
	}
	if err := asker.Ask(t.Context(), registry.Task{Node: "n1", Do: registry.DoStop}); err == nil {
		t.Error("asked while it is at something")
	}
	taken.State = registry.TaskDone
	if _, err := node.Move(t.Context(), taken); err != nil {
		t.Fatal(err)
	}
	ask("n1", registry.DoStop)
	if err := asker.ForgetNode(t.Context(), "n1"); err != nil {
		t.Fatal(err)
	}
	if _, err := asker.Task(t.Context(), "n1"); err == nil {
		t.Error("it is not forgotten")
	}
}
