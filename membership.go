package omca

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"omca/ca"
	"omca/internal/hint"
	"omca/internal/home"
	"omca/internal/member"
	"omca/internal/object"
	"omca/internal/store"
	"omca/pki"
)

// What a home has that is a member's: which member, etcd's data, what it shows
// and trusts, and a file that is locked while a process is that member.
const (
	clusterFile = "cluster.json"
	etcdDir     = "etcd"
	peerDir     = "peer"
	memberLock  = "member.lock"
	keptStore   = "omca.db.before-cluster"
	newFile     = ".new-*" // on its way to its name

	peerPair = "node.pem" // certificate and key: one file, so that they change together
	peerCA   = "ca.pem"

	etcdPrefix  = "omca/" // of our keys
	defaultPeer = ":1217"
)

// The states of a membership.
const (
	stateConverting = "converting" // the store is being copied: it starts over
	stateJoining    = "joining"    // it was not finished: it takes another token
	stateMember     = "member"
	stateRemoved    = "removed" // the others took it out
)

// A membership says which member of the cluster the process on a home is. It is
// the file cluster.json; a home without one has its store to itself.
type membership struct {
	Version int           `json:"version"`
	State   string        `json:"state"`
	Node    string        `json:"node"`
	Cluster string        `json:"cluster"` // name: the trust domain
	ID      string        `json:"id"`      // of the cluster
	URL     string        `json:"url"`     // where the other members reach this one
	Listen  string        `json:"listen"`  // where it listens for them
	Joined  bool          `json:"joined"`  // it was not the first
	Peers   []member.Peer `json:"peers"`   // the members there were when it became one
}

// readMembership reads the file; nil when there is none.
func readMembership(home string) (*membership, error) {
	name := filepath.Join(home, clusterFile)
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var m membership
	if err := json.Unmarshal(text, &m); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if m.Version != 1 || !slices.Contains([]string{stateConverting, stateJoining, stateMember, stateRemoved}, m.State) {
		return nil, fmt.Errorf("%s: version %d, state %q: written by another version of this program", name, m.Version, m.State)
	}
	return &m, nil
}

// write puts the file in place, whole and on the disk.
func (m membership) write(dir string) error {
	m.Version = 1
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	return home.Replace(filepath.Join(dir, clusterFile), newFile, append(text, '\n'))
}

func (m membership) self() member.Peer { return member.Peer{Name: m.Node, URL: m.URL} }

// nodePath is where the certificate of a member is kept.
func nodePath(node string) (object.Path, error) {
	p, err := object.ParsePath(ca.PathNode + node)
	if err != nil || node == "" || strings.Contains(node, "/") {
		return object.Path{}, hint.With(fmt.Errorf("%w: %q cannot be the name of a member: expected a-z, 0-9, \"-\" and \".\", at most 58 of them", ca.ErrInvalid, node),
			"give another one with --node-name NAME")
	}
	return p, nil
}

// peerAddress reads where a member listens and where the others reach it. Without a
// host that is the name of the node.
func peerAddress(address, node string) (listen, url string, err error) {
	if address == "" {
		address = defaultPeer
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", "", hint.With(fmt.Errorf("%w: address for the members %q: %w", ca.ErrInvalid, address, err), "give HOST:PORT, where HOST is what the other nodes reach this one by")
	}
	if host == "" || host == "0.0.0.0" || host == "::" {
		host = node
	}
	return address, "https://" + net.JoinHostPort(host, port), nil
}

// lockMember takes the home of a member for this process: store.ErrLocked.
func lockMember(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, memberLock), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := home.TryLock(f); err != nil {
		if errors.Is(err, home.ErrLocked) {
			err = fmt.Errorf("%s: %w", dir, store.ErrLocked)
		}
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// peerFiles are what a member shows and trusts, as etcd reads them.
func peerFiles(home string) member.Files {
	dir := filepath.Join(home, peerDir)
	pair := filepath.Join(dir, peerPair)
	return member.Files{Certificate: pair, Key: pair, CA: filepath.Join(dir, peerCA)}
}

// writePair puts certificate and key of a member in place. It reports whether they
// are others than before.
func writePair(dir string, chain []*x509.Certificate, key []byte) (bool, error) {
	files := peerFiles(dir)
	if err := os.MkdirAll(filepath.Dir(files.Certificate), 0o700); err != nil {
		return false, err
	}
	// The CA of the members signed the first certificate, and is known to everybody.
	text := slices.Concat(pki.EncodeCertificates(chain[0]), key)
	if old, err := os.ReadFile(files.Certificate); err == nil && string(old) == string(text) {
		return false, nil
	}
	return true, home.Replace(files.Certificate, newFile, text)
}

// readIdentity reads what a member shows and trusts.
func readIdentity(home string) (member.Identity, error) {
	files := peerFiles(home)
	pair, err := tls.LoadX509KeyPair(files.Certificate, files.Key)
	if err != nil {
		return member.Identity{}, fmt.Errorf("certificate of this member: %w", err)
	}
	text, err := os.ReadFile(files.CA)
	if err != nil {
		return member.Identity{}, err
	}
	trusted, err := pki.ParseCertificates(text)
	if err != nil {
		return member.Identity{}, fmt.Errorf("%s: %w", files.CA, err)
	}
	pool := x509.NewCertPool()
	for _, c := range trusted {
		pool.AddCert(c)
	}
	return member.Identity{Certificate: pair, Roots: pool}, nil
}
