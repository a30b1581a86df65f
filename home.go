package omca

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"

	"omca/internal/hint"
	"omca/internal/object"
	"omca/internal/registry"
)

// ErrNoHome means that a directory is not the home of an authority: it does not
// exist, has no store, or its first start was cut short.
var ErrNoHome = errors.New("no home of omca")

// FindHome returns an error of kind ErrNoHome unless the directory is a home. It
// looks at the names of files alone, makes nothing, and takes no lock.
func FindHome(home string) error {
	if _, err := os.Stat(home); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w at %s: it does not exist", ErrNoHome, home)
	}
	// A seal key without a store is a home that lost its store.
	for _, name := range []string{storeFile, clusterFile, storeSettings, sealKey} {
		_, err := os.Stat(filepath.Join(home, name))
		if err == nil {
			return nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return fmt.Errorf("%w at %s: it has no store", ErrNoHome, home)
}

// begun returns an error of kind ErrNoHome unless the store holds what a first
// start makes first: data keys and the object of the cluster.
func begun(ctx context.Context, c Config, db opened) error {
	sealed, err := registry.Sealed(ctx, db)
	if err == nil && !sealed {
		err = unfinished(c.Home)
	}
	return err
}

func unfinished(home string) error {
	return fmt.Errorf("%w at %s: its first start was not finished", ErrNoHome, home)
}

// Reserve listens where Open and Run will on a first start, as far as c says it, so
// that an address that cannot be had is found before anything is made. The sockets
// go into Config.Sockets. There are none for a home that is there.
func Reserve(ctx context.Context, c Config) ([]Socket, error) {
	if err := FindHome(c.Home); !errors.Is(err, ErrNoHome) {
		return nil, err
	}
	if err := c.complete(); err != nil {
		return nil, err
	}
	if err := checkSocketPath(filepath.Join(c.Home, SocketName)); err != nil {
		return nil, err
	}
	addresses, err := c.firstAddresses()
	if err != nil {
		return nil, err
	}
	var all []Socket
	for _, a := range addresses {
		file, err := reserve(ctx, a.address)
		if err != nil {
			return nil, errors.Join(a.explain(err), CloseSockets(all))
		}
		all = append(all, Socket{a.name, a.address, file})
	}
	return all, nil
}

// firstAddress is where a first start listens.
type firstAddress struct {
	name, address string
	explain       func(error) error
}

// firstAddresses returns where a first start listens. A cluster that is there
// already may have keywords for its listener: then only Listen is known.
func (c Config) firstAddresses() ([]firstAddress, error) {
	var all []firstAddress
	if c.Cluster || c.Join != nil {
		address, _, err := peerAddress(c.Peer, c.NodeName)
		if err != nil {
			return nil, err
		}
		all = append(all, firstAddress{socketPeer, address, func(err error) error {
			return hint.With(fmt.Errorf("listening for the other members: %w", err), "choose another address with --peer")
		}})
	}
	address := c.Listen
	if address == "" && c.Join == nil && c.Store.URL == "" {
		var err error
		if address, err = keywordAddress(object.NewConfig(object.ClusterPath())); err != nil {
			return nil, err
		}
	}
	if address != "" {
		all = append(all, firstAddress{socketTLS, address, explainListening})
	}
	return all, nil
}

// reserve returns a socket that listens on a TCP address.
func reserve(ctx context.Context, address string) (*os.File, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	file, err := l.(*net.TCPListener).File()
	return file, errors.Join(err, l.Close())
}

// explainListening says what to do when the listener's address cannot be had.
func explainListening(err error) error {
	return hint.With(fmt.Errorf("listening: %w", err), "choose another address with --listen or the keyword listener.port")
}

// checkSocketPath refuses a path that is too long for a unix socket: the system
// keeps it with a zero at its end.
func checkSocketPath(path string) error {
	if most := len(syscall.RawSockaddrUnix{}.Path) - 1; len(path) > most {
		return hint.With(fmt.Errorf("socket %s: its path has %d characters, and %d is the most that this system takes", path, len(path), most),
			"name a home with a shorter path with --home DIR")
	}
	return nil
}
