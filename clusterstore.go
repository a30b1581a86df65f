package omca

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"omca/internal/hint"
	"omca/internal/home"
	"omca/internal/registry"
	"omca/internal/store"
	"omca/internal/store/etcd"
	"omca/internal/store/replica"
)

// StoreConfig names a store that is shared with other nodes. Its zero value is
// what the home remembers, and else the store in the home.
type StoreConfig struct {
	URL          string `json:"url"`                     // etcd://HOST:PORT,HOST:PORT/PREFIX, or etcds:// for TLS
	CAFile       string `json:"ca_file,omitempty"`       // PEM; "" takes the CAs that the system trusts
	CertFile     string `json:"cert_file,omitempty"`     // PEM, with KeyFile
	KeyFile      string `json:"key_file,omitempty"`      // PEM, mode 0600
	User         string `json:"user,omitempty"`          // of etcd, with PasswordFile
	PasswordFile string `json:"password_file,omitempty"` // its first line is the password; mode 0600

	// Patience bounds how long the store may take to answer before it is taken to be
	// away; 0 is 2.5 s. It is not remembered.
	Patience time.Duration `json:"-"`
}

// Files in the home of a node of a cluster.
const (
	storeSettings = "store.json" // which store it is
	copyFile      = "replica.db" // what this node has of it
)

// settings returns which shared store the home belongs to: the one configured,
// else the one that is remembered; none with URL "".
func (c Config) settings() (StoreConfig, error) {
	if c.Store.URL != "" {
		return c.Store.absolute()
	}
	if named := c.Store; named != (StoreConfig{Patience: named.Patience}) {
		return StoreConfig{}, hint.With(errors.New("it is said how to reach a store, and not which"), "name it with --store URL")
	}
	return recalled(c.Home)
}

// recalled returns the store that a home remembers; none with URL "".
func recalled(home string) (StoreConfig, error) {
	path := filepath.Join(home, storeSettings)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return StoreConfig{}, nil
	}
	if err != nil {
		return StoreConfig{}, fmt.Errorf("home: %w", err)
	}
	var r StoreConfig
	if err := json.Unmarshal(text, &r); err != nil || r.URL == "" {
		return StoreConfig{}, hint.With(fmt.Errorf("%s does not say which store this node has: %w", path, errors.Join(err, errNoURL)),
			"say it again with \"daemon run --store URL\"")
	}
	return r, nil
}

var errNoURL = errors.New("a url is expected")

// absolute has the files found from whatever directory the next command runs in.
func (c StoreConfig) absolute() (StoreConfig, error) {
	for _, file := range []*string{&c.CAFile, &c.CertFile, &c.KeyFile, &c.PasswordFile} {
		if *file == "" {
			continue
		}
		at, err := filepath.Abs(*file)
		if err != nil {
			return c, err
		}
		*file = at
	}
	return c, nil
}

// remember has the home know its store from now on.
func (c StoreConfig) remember(dir string) error {
	text, err := json.MarshalIndent(c, "", "\t")
	if err != nil {
		return err
	}
	path := filepath.Join(dir, storeSettings)
	if was, err := os.ReadFile(path); err == nil && string(was) == string(text) {
		return nil
	}
	if err := home.Replace(path, storeSettings+newFile, text); err != nil {
		return fmt.Errorf("home: %w", err)
	}
	return nil
}

func (c StoreConfig) remote() (etcd.Remote, error) {
	a, err := etcd.ParseAddress(c.URL)
	return etcd.Remote{Address: a, CAFile: c.CAFile, CertFile: c.CertFile, KeyFile: c.KeyFile, User: c.User, PasswordFile: c.PasswordFile}, err
}

// openExternal opens a store in an etcd that somebody else runs.
func openExternal(ctx context.Context, c Config, which StoreConfig) (opened, error) {
	if _, err := os.Stat(filepath.Join(c.Home, storeFile)); err == nil {
		return opened{}, hint.With(fmt.Errorf("home %s has a store of its own (%s), and is to use %s", c.Home, storeFile, which.URL),
			"name another home with --home: what is in this one would not be in the cluster")
	}
	remote, err := which.remote()
	if err != nil {
		return opened{}, err
	}
	client, err := etcd.Dial(remote)
	if err != nil {
		return opened{}, err
	}
	db, err := openShared(ctx, c, etcd.Config{Client: client, Prefix: remote.Prefix, Why: remote.Why}, client.Close, which.URL)
	if err != nil {
		return opened{}, errors.Join(err, client.Close())
	}
	known, err := recalled(c.Home)
	if away := db.follows.Away(); err == nil && away != nil && known.URL != which.URL {
		err = explainShared(fmt.Errorf("%w: %w; and the copy in %s is of %s", store.ErrAway, away, c.Home, known.URL), which.URL, copyFile)
	}
	if err == nil {
		err = which.remember(c.Home)
	}
	if err != nil {
		return opened{}, errors.Join(err, db.Close())
	}
	return db, nil
}

// openShared opens this node's copy of a store in etcd. Whoever closes it calls
// end. The name is for people.
func openShared(ctx context.Context, c Config, at etcd.Config, end func() error, name string) (opened, error) {
	source, err := etcd.New(at)
	if err != nil {
		return opened{}, err
	}
	file := filepath.Join(c.Home, copyFile)
	db, err := replica.Open(ctx, replica.Config{
		Source: source, Path: file, Now: c.Now, Log: c.Log, Panics: c.panics,
		Pace: replica.Pace{Commit: c.Store.Patience, Answer: c.Store.Patience * 4 / 5},
	})
	if err != nil {
		return opened{}, explainShared(err, name, file)
	}
	if err := mayBegin(ctx, db, c.ClusterName, name, at.Prefix); err != nil {
		return opened{}, errors.Join(err, db.Close())
	}
	return opened{
		Store:    shared{db, end},
		name:     name,
		follows:  db,
		session:  source.Session,
		home:     db.Home(),
		keyHint:  fmt.Sprintf("the store is sealed with the seal key of the cluster: copy %s from the home of another node, mode 0600, or name the passphrase file", sealKey),
		measures: append(boltMeasures(db), sharedMeasures(db, c.Now)...),
	}, nil
}

// shared is a store with which what it stands on ends: a client, or a member.
type shared struct {
	*replica.Store
	end func() error
}

func (s shared) Close() error { return errors.Join(s.Store.Close(), s.end()) }

// explainShared says what to do when a shared store cannot be opened.
func explainShared(err error, name, file string) error {
	other := new(replica.OriginError)
	switch {
	case errors.As(err, &other):
		return hint.With(fmt.Errorf("%s: %w", name, err),
			"name the store that this home belongs to. If its etcd was made anew or brought back from a backup, what it lacks may still be in the copy: keep %s*, move it away, and start again", file)
	case errors.Is(err, store.ErrRefused):
		return hint.With(fmt.Errorf("%s: %w", name, err), "name its user with --store-user and --store-password-file; it needs to read and write the keys under the prefix")
	case errors.Is(err, store.ErrAway):
		return hint.With(fmt.Errorf("%s: %w", name, err), "see that etcd runs and is reached from here; name its servers, and its CA and user where it has them, as \"daemon run --help\" shows")
	}
	return err
}

// mayBegin refuses a prefix in which no cluster is, unless one is to begin there.
func mayBegin(ctx context.Context, db store.Store, clusterName, name, prefix string) error {
	there, err := registry.Sealed(ctx, db)
	if err != nil || there {
		return err
	}
	page, err := db.Scan(ctx, store.Range{Limit: 1})
	switch {
	case err != nil:
		return err
	case len(page.Entries) > 0:
		return hint.With(fmt.Errorf("%s: what is under the prefix %q is not a cluster of omca's", name, prefix), "choose a prefix of its own: etcd://…/omca")
	case clusterName == "":
		return hint.With(fmt.Errorf("%s: there is no cluster under the prefix %q", name, prefix),
			"check the prefix; to begin a cluster there, give it a name with --cluster-name")
	}
	return nil
}

// sharedMeasures tell how a node stands to the store that it shares.
func sharedMeasures(db *replica.Store, now func() time.Time) []prometheus.Collector {
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "omca", Name: name, Help: help}, value)
	}
	return []prometheus.Collector{
		gauge("store_away", "1 while the store does not answer, and nothing can be changed.", func() float64 {
			if db.Away() != nil {
				return 1
			}
			return 0
		}),
		gauge("store_age_seconds", "Time since this node's copy of the store was known to be current.", func() float64 {
			return now().Sub(db.Word()).Seconds()
		}),
	}
}

// checkShared tells whether the files are there that a node of a cluster needs.
func checkShared(c Config, which StoreConfig) error {
	remote, err := which.remote()
	if err != nil {
		return err
	}
	if err := remote.Check(); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(c.Home, copyFile), os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("home: %w", err)
	}
	return f.Close()
}
