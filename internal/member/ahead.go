package member

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.etcd.io/etcd/server/v3/etcdserver/api/membership"
	"go.etcd.io/etcd/server/v3/storage/datadir"
	"go.etcd.io/etcd/server/v3/storage/schema"
)

const (
	aheadMost   = 15 * time.Second // for the others to apply what is here, before this member takes part
	lackingMost = 3 * time.Second  // for one answer of each
)

// ahead waits until the others have what is in the directory of this member, before it takes
// part. When enough of them answer to go on without it, and go on without what it has, they
// were put back from copies: a leader among them would end in a panic of Raft at the first
// answer of a member that has more than was ever sent to it.
func (m *Member) ahead() error {
	was, err := readPast(m.config.Dir, m.config.Name)
	if err != nil || was.rev == 0 || len(was.others) == 0 {
		return err
	}
	client, err := m.comparer()
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	late := time.NewTimer(aheadMost)
	defer late.Stop()
	for {
		lack, have := was.lacking(m, client)
		if have > 0 || lack <= was.members/2 {
			return nil
		}
		select {
		case <-late.C:
			return othersSetBack(fmt.Errorf("%d of the other members do not have revision %d", lack, was.rev))
		case <-time.After(agreePause):
		}
	}
}

// lacking asks the other members whether they have what was here. A member without an answer is
// not counted.
func (was past) lacking(m *Member, client *http.Client) (lack, have int) {
	ctx, cancel := context.WithTimeout(context.Background(), lackingMost)
	defer cancel()
	revs := make([]int64, len(was.others)) // 0: no answer
	var asked sync.WaitGroup
	for i, url := range was.others {
		asked.Go(func() {
			err := m.config.Panics.Guard("what another member has", func() (err error) {
				revs[i], err = askRevision(ctx, client, url)
				return err
			})
			if err != nil {
				m.config.Log.Debug("a member does not say what it has", "url", url, "error", err)
			}
		})
	}
	asked.Wait()
	for _, rev := range revs {
		switch {
		case rev >= was.rev:
			have++
		case rev > 0:
			lack++
		}
	}
	return lack, have
}

// revisionPath answers with the revision that a member has, decimal.
const revisionPath = "/omca/revision"

// withRevision serves revisionPath, and all else by h.
func (m *Member) withRevision(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != revisionPath {
			h.ServeHTTP(w, r)
			return
		}
		rev, err := m.revision(r.Context())
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		if _, err := fmt.Fprintln(w, rev); err != nil {
			m.config.Log.Debug("answering a member", "error", err)
		}
	})
}

// revision is that of the last change here.
func (m *Member) revision(ctx context.Context) (int64, error) {
	return attach(ctx, m.etcd.Server, struct{}{}, func(context.Context, struct{}) (int64, error) { return m.etcd.Server.KV().Rev(), nil })
}

func askRevision(ctx context.Context, client *http.Client, url string) (rev int64, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+revisionPath, nil)
	if err != nil {
		return 0, err
	}
	res, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, res.Body.Close()) }()
	if res.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("%s: %s", url, res.Status)
	}
	text, err := io.ReadAll(io.LimitReader(res.Body, 32))
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
}

// A past is what the directory of a member says while it does not run.
type past struct {
	rev     int64    // of the last change; 0 when there is none yet
	others  []string // URLs of the other members
	members int      // that have a vote
}

// readPast reads the file of etcd: the keys of its bucket "key" begin with the revision, 8 bytes,
// the first of the greatest weight; the values of its bucket "members" are JSON.
func readPast(dir, name string) (was past, err error) {
	file := datadir.ToBackendFileName(dir)
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		return past{}, nil
	}
	db, err := bolt.Open(file, 0o600, &bolt.Options{ReadOnly: true, Timeout: time.Second})
	if err != nil {
		return past{}, fmt.Errorf("%s: %w", file, err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	err = db.View(func(tx *bolt.Tx) error {
		keys, members := tx.Bucket(schema.Key.Name()), tx.Bucket(schema.Members.Name())
		if keys == nil || members == nil {
			return nil
		}
		if last, _ := keys.Cursor().Last(); len(last) >= 8 {
			was.rev = int64(binary.BigEndian.Uint64(last)) // never negative
		}
		return members.ForEach(func(_, value []byte) error {
			var m membership.Member
			if err := json.Unmarshal(value, &m); err != nil {
				return fmt.Errorf("%s: a member: %w", file, err)
			}
			if !m.IsLearner {
				was.members++
			}
			if m.Name != name {
				was.others = append(was.others, m.PeerURLs...)
			}
			return nil
		})
	})
	return was, err
}
