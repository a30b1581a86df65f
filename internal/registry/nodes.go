package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"omca/internal/store"
)

const (
	prefixNode = "node/"        // node/<name> → node, as long as it is there
	keyChosen  = "elected/node" // name of the node that does what one does for all, likewise

	prefixClock = "clock/" // clock/<node> → time of the node's clock, likewise
)

// A Node is a process that serves the store's cluster now.
type Node struct {
	Name      string    `json:"name"`
	Home      string    `json:"home"` // identity of its home
	Version   string    `json:"version"`
	Addresses []string  `json:"addresses"` // of its listener
	StartedAt time.Time `json:"started_at"`
	Reads     int       `json:"reads,omitempty"` // newest format of the store that its build reads; 0 is the first
}

// A NodeClock is the time of a node's clock when the node wrote it down.
type NodeClock struct {
	Node  string    `json:"-"`
	Shows time.Time `json:"shows"`
}

// Put is how a node shows its clock to the others.
func (c NodeClock) Put() (store.Put, error) {
	value, err := json.Marshal(c)
	return store.Put{Key: prefixClock + c.Node, Value: value}, err
}

// Put is how a node makes itself known.
func (n Node) Put() (store.Put, error) {
	value, err := json.Marshal(n)
	return store.Put{Key: prefixNode + n.Name, Value: value}, err
}

// Node returns the node of that name that is there; ca.ErrNotFound.
func (s *Store) Node(ctx context.Context, name string) (Node, error) {
	e, err := s.db.Get(ctx, prefixNode+name)
	if err != nil {
		return Node{}, fromStore(err)
	}
	return decodeNode(e)
}

func decodeNode(e store.Entry) (Node, error) {
	var n Node
	if err := json.Unmarshal(e.Value, &n); err != nil {
		return Node{}, fmt.Errorf("store key %q: %w", e.Key, err)
	}
	return n, nil
}

// Chosen is how a node becomes the one that does what one does for all.
func (n Node) Chosen() store.Put { return store.Put{Key: keyChosen, Value: []byte(n.Name)} }

// Nodes returns the nodes that are there, by name.
func (s *Store) Nodes(ctx context.Context) ([]Node, error) {
	var all []Node
	for e, err := range entries(ctx, s.db, prefixNode) {
		if err != nil {
			return nil, err
		}
		n, err := decodeNode(e)
		if err != nil {
			return nil, err
		}
		all = append(all, n)
	}
	return all, nil
}

// ChosenNode returns the name of the node that does what one does for all, ""
// when there is none at the moment.
func (s *Store) ChosenNode(ctx context.Context) (string, error) {
	e, err := s.db.Get(ctx, keyChosen)
	if errors.Is(err, store.ErrNotFound) {
		return "", nil
	}
	return string(e.Value), err
}

// FollowNodes calls changed whenever a node comes, goes or is chosen, and shown with
// each clock that a node shows from now on, until ctx is done or the store ends. Of
// a clock that was shown before nothing is told: how long before is not known.
func (s *Store) FollowNodes(ctx context.Context, changed func(), shown func(NodeClock)) error {
	for {
		rev, err := s.db.Rev(ctx)
		if err != nil {
			return err
		}
		changed()
		for c, err := range s.db.Watch(ctx, "", rev) {
			if errors.Is(err, store.ErrCompacted) {
				break // look again
			}
			if err != nil {
				return err
			}
			if slices.ContainsFunc(c.Events, func(e store.Event) bool { return announces(e.Key) }) {
				changed()
			}
			for _, e := range c.Events {
				if name, ok := strings.CutPrefix(e.Key, prefixClock); ok && !e.Deleted {
					s.showClock(ctx, name, e.Value, shown)
				}
			}
		}
	}
}

// showClock tells of a clock, and leaves out one that cannot be read: the next comes soon.
func (s *Store) showClock(ctx context.Context, node string, value []byte, shown func(NodeClock)) {
	c := NodeClock{Node: node}
	if err := json.Unmarshal(value, &c); err != nil {
		s.log.WarnContext(ctx, "clock of a node not read", "node", node, "error", err)
		return
	}
	shown(c)
}

// announces reports whether a key says which nodes are there, or which is chosen.
func announces(key string) bool { return strings.HasPrefix(key, prefixNode) || key == keyChosen }

// passing reports whether a key is one that ends with a process: no backup has it.
func passing(key string) bool { return announces(key) || strings.HasPrefix(key, prefixClock) }
