package member_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.etcd.io/etcd/server/v3/storage/datadir"
	"go.etcd.io/etcd/server/v3/storage/schema"

	"omca/internal/hint"
	"omca/internal/member"
)

// TestSetBack: a member whose directory is put back from a copy says so and ends, without a
// panic, and the others go on. It comes back by joining anew.
func TestSetBack(t *testing.T) {
	t.Parallel()
	nodes := newAuthority(t).form(t, "n1", "n2", "n3")
	back := nodes[2]
	if leader(nodes) == back {
		lead(t, nodes, nodes[0])
	}
	if err := put(t, nodes[0], "k", "0"); err != nil {
		t.Fatal(err)
	}
	within(t, 10*time.Second, "n3 has it", func() bool { return get(t, back, "k") == "0" })
	back.Stop()
	copied := t.TempDir()
	if err := os.CopyFS(copied, os.DirFS(back.config.Dir)); err != nil {
		t.Fatal(err)
	}
	back.again(t)
	back.ready(t)
	for i := range 20 {
		if err := put(t, nodes[0], "k", fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	within(t, 10*time.Second, "n3 has all", func() bool { return get(t, back, "k") == "19" })
	back.Stop()
	if err := os.RemoveAll(back.config.Dir); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(back.config.Dir, os.DirFS(copied)); err != nil {
		t.Fatal(err)
	}
	back.again(t)
	select {
	case <-back.Done():
	case <-time.After(20 * time.Second):
		t.Fatal("n3 goes on")
	}
	err := back.Err()
	if !errors.Is(err, member.ErrSetBack) || strings.Contains(err.Error(), "goroutine") || !strings.Contains(hint.Of(err), "omca cluster remove n3") {
		t.Errorf("%v, hint %q", err, hint.Of(err))
	}
	stopped := make(chan struct{})
	go func() { defer close(stopped); back.Stop() }()
	select {
	case <-stopped:
	case <-time.After(10 * time.Second):
		t.Error("n3 does not stop")
	}
	if err := put(t, nodes[0], "k", "on"); err != nil {
		t.Errorf("the others: %v", err)
	}
}

// TestOthersSetBack: when the directories of a majority are put back, the member that was not
// says so and does not take part: what it has is not overwritten, and no member panics.
func TestOthersSetBack(t *testing.T) {
	t.Parallel()
	others, ahead := overtaken(t, 5)
	ahead.config.Listener = must[net.Listener](t)(net.Listen("tcp", strings.TrimPrefix(ahead.config.URL, "https://")))
	t.Cleanup(func() { ahead.config.Listener.Close() })
	_, err := member.Start(ahead.config)
	wantOthersSetBack(t, err, "2 of the other members do not have revision")
	if err := put(t, others[0], "k", "on"); err != nil {
		t.Errorf("the two: %v", err)
	}
}

// TestDiffers: the same when the others have committed as much as the third has.
func TestDiffers(t *testing.T) {
	t.Parallel()
	_, ahead := overtaken(t, 100)
	ahead.again(t)
	select {
	case <-ahead.Done():
	case <-time.After(25 * time.Second):
		t.Fatal("n3 goes on")
	}
	wantOthersSetBack(t, ahead.Err(), "the contents differ at revision")
	ahead.Stop()
}

func wantOthersSetBack(t *testing.T, err error, why string) {
	t.Helper()
	if !errors.Is(err, member.ErrOthersSetBack) || !strings.Contains(err.Error(), why) || !strings.Contains(hint.Of(err), "keep this home") {
		t.Errorf("%v, hint %q", err, hint.Of(err))
	}
}

// overtaken has the directories of n1 and n2 put back from copies that lack 20 commits, and
// other commits made on them. The third, which has the 20, is returned stopped.
func overtaken(t *testing.T, commits int) (others []*node, ahead *node) {
	t.Helper()
	nodes := newAuthority(t).form(t, "n1", "n2", "n3")
	others, ahead = nodes[:2], nodes[2]
	if err := put(t, nodes[0], "k", "before"); err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		within(t, 10*time.Second, "all have it", func() bool { return get(t, n, "k") == "before" })
	}
	copies := []string{t.TempDir(), t.TempDir()}
	for i, n := range others {
		n.Stop()
		if err := os.CopyFS(copies[i], os.DirFS(n.config.Dir)); err != nil {
			t.Fatal(err)
		}
		n.again(t)
		n.ready(t)
	}
	for i := range 20 {
		within(t, 10*time.Second, "it is written", func() bool { return put(t, ahead, "k", fmt.Sprint(i)) == nil })
	}
	ahead.Stop() // while it lives, it leads, and the two end as in TestSetBack
	for _, n := range others {
		n.Stop()
	}
	for i, n := range others {
		if err := os.RemoveAll(n.config.Dir); err != nil {
			t.Fatal(err)
		}
		if err := os.CopyFS(n.config.Dir, os.DirFS(copies[i])); err != nil {
			t.Fatal(err)
		}
		n.again(t)
	}
	for _, n := range others {
		n.ready(t)
	}
	for i := range commits {
		within(t, 10*time.Second, "the two go on", func() bool { return put(t, others[0], "k", fmt.Sprint("other ", i)) == nil })
	}
	return others, ahead
}

// TestDamagedAtStart: etcd finds a value that it cannot read while it starts. Start returns that, and
// does not end the goroutine of its caller.
func TestDamagedAtStart(t *testing.T) {
	t.Parallel()
	n := newAuthority(t).form(t, "n1")[0]
	if err := put(t, n, "k", "v"); err != nil {
		t.Fatal(err)
	}
	n.Stop()
	db := must[*bolt.DB](t)(bolt.Open(datadir.ToBackendFileName(n.config.Dir), 0o600, nil))
	err := db.Update(func(tx *bolt.Tx) error {
		keys := tx.Bucket(schema.Key.Name())
		last, _ := keys.Cursor().Last()
		return keys.Put(last, []byte("no such message"))
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	n.config.Listener = must[net.Listener](t)(net.Listen("tcp", strings.TrimPrefix(n.config.URL, "https://")))
	_, err = member.Start(n.config)
	if err == nil || !strings.Contains(err.Error(), "failed to unmarshal mvccpb.KeyValue: ") || !strings.Contains(hint.Of(err), "the home is damaged") {
		t.Errorf("a damaged value: %v, hint %q", err, hint.Of(err))
	}
}
