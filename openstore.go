package omca

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"omca/internal/hint"
	"omca/internal/store"
	"omca/internal/store/bolt"
	"omca/internal/store/etcd"
)

// Files in the home: of the store, and of the master key.
const (
	storeFile = "omca.db"
	sealKey   = "seal.key"
)

// opened is the store of this authority, whichever that is, with what the
// composition has to know of it beyond the contract.
type opened struct {
	store.Store
	name     string                                                      // of a store that is shared with other nodes; "" for one of this node alone
	follows  follows                                                     // how this node stands to a store that is shared; nil for one of its own
	session  func(context.Context, time.Duration) (*etcd.Session, error) // begins one of this node; nil for a store of its own
	home     string                                                      // identity of this node's copy
	keyHint  string                                                      // what to do when the store is sealed and the seal key is not in the home
	measures []prometheus.Collector                                      // of this kind of store
	node     *node                                                       // the member that keeps it; nil for any other store
}

// follows is what a node knows of the store that it has a copy of.
type follows interface {
	Word() time.Time // when the copy was current last; zero: never
	Away() error     // why nothing can be changed now; nil when it can
	Latest(context.Context)
}

// openStore opens the store that the configuration names. It is the one place
// that knows which kinds there are.
func openStore(ctx context.Context, c Config) (opened, error) {
	m, err := enterCluster(ctx, c)
	if err != nil {
		return opened{}, err
	}
	if m != nil {
		return openMember(ctx, c, *m)
	}
	which, err := c.settings()
	switch {
	case err != nil:
		return opened{}, err
	case which.URL != "":
		return openExternal(ctx, c, which)
	}
	return openBolt(ctx, c)
}

// checkStore tells whether openStore has what it needs, as far as that can be
// told while another process has the store open.
func checkStore(c Config) error {
	m, err := readMembership(c.Home)
	if err != nil {
		return err
	}
	if m != nil {
		_, err := readIdentity(c.Home)
		return err
	}
	which, err := c.settings()
	switch {
	case err != nil:
		return err
	case which.URL != "":
		return checkShared(c, which)
	}
	db, err := os.OpenFile(filepath.Join(c.Home, storeFile), os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("home: %w", err)
	}
	return db.Close()
}

// openBolt opens the store in the home, and makes one where there never was any.
func openBolt(ctx context.Context, c Config) (opened, error) {
	file, key := filepath.Join(c.Home, storeFile), filepath.Join(c.Home, sealKey)
	_, missing := os.Stat(file)
	if _, err := os.Stat(key); errors.Is(missing, fs.ErrNotExist) && err == nil {
		// The store is made before the key: it was there, and is gone.
		return opened{}, hint.With(fmt.Errorf("%s is gone, and %s is still there", file, key),
			"move what is left of the home away and make it anew from a backup with \"omca restore FILE\"; to begin anew, with another CA, remove %s", key)
	}
	db, err := bolt.Open(ctx, bolt.Config{Path: file})
	if err != nil && !errors.Is(err, store.ErrLocked) && hint.Of(err) == "" {
		err = hint.With(err, "if %s is damaged, move the home away and make it anew from a backup with \"omca restore FILE --replaces DIR\" (docs/backup.md)", file)
	}
	if err != nil {
		return opened{}, err
	}
	return opened{
		Store:    db,
		keyHint:  "the store is sealed with this key: name the passphrase file if it was sealed by one, or make the home anew from a backup with \"omca restore FILE\"",
		measures: boltMeasures(db),
	}, nil
}

// boltMeasures are the numbers of a store on the disk of this machine, read when asked for.
func boltMeasures(db interface{ Stats() bolt.Stats }) []prometheus.Collector {
	counter := func(name, help string, value func(bolt.Stats) int64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Namespace: "omca", Name: name, Help: help},
			func() float64 { return float64(value(db.Stats())) })
	}
	return []prometheus.Collector{
		counter("store_commits_total", "Transactions that the store made durable.", func(s bolt.Stats) int64 { return s.Commits }),
		counter("store_syncs_total", "Times that the store waited for the disk: commits at the same time share them.", func(s bolt.Stats) int64 { return s.Syncs }),
		counter("store_written_bytes_total", "Bytes that the store wrote to its file.", func(s bolt.Stats) int64 { return s.Bytes }),
	}
}
