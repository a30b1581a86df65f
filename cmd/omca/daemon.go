package main

import (
	"context"
	"errors"
	"time"

	"omca"
)

// daemon is an open authority that can be served.
type daemon interface {
	Run(ctx context.Context, announce func(ready)) error
	sockets() ([]socket, error) // copies of those that Run listens on
	Leave()                     // Run drains and returns, and leaves the sockets to whoever has copies
	Close() error
}

// openStore opens the authority for one command.
func openStore(ctx context.Context, p place) (store, error) {
	s, err := omca.Open(ctx, omca.Config{Home: p.home, MustExist: !p.makes, PassphraseFile: p.passphraseFile, Version: version(), Now: time.Now, Log: auditLog(p.home)})
	if err != nil {
		return nil, locked(err)
	}
	return s, nil
}

// openDaemon opens the authority to be served.
func openDaemon(ctx context.Context, c daemonConfig) (daemon, error) {
	s, err := omca.Open(ctx, c.authority())
	if err != nil {
		return nil, locked(err)
	}
	return served{s}, nil
}

// reserve returns the sockets of a first start, before anything is made.
func reserve(ctx context.Context, c daemonConfig) ([]socket, error) {
	return taken(omca.Reserve(ctx, c.authority()))
}

// checkDaemon tells, while another process has the store, what would be in the way of openDaemon.
func checkDaemon(c daemonConfig) error { return omca.Check(c.authority()) }

func (c daemonConfig) authority() omca.Config {
	config := omca.Config{
		Home: c.home, PassphraseFile: c.passphraseFile, Version: version(), Now: time.Now,
		Store: omca.StoreConfig{
			URL: c.store.url, CAFile: c.store.ca, CertFile: c.store.cert, KeyFile: c.store.key, User: c.store.user, PasswordFile: c.store.passwordFile,
		},
		Mark: c.mark, Listen: c.listen, ClusterName: c.clusterName, NodeName: c.nodeName, Log: c.log,
		Cluster: c.cluster, Join: c.join, Peer: c.peer,
		Restart: c.restart, RestartError: c.restartError, Memory: c.memory,
	}
	for _, k := range c.sockets {
		config.Sockets = append(config.Sockets, omca.Socket{Name: k.name, Address: k.address, File: k.file})
	}
	return config
}

// locked says in this package's word that another process has the store.
func locked(err error) error {
	if errors.Is(err, omca.ErrLocked) {
		return errors.Join(errLocked, err)
	}
	return err
}

type served struct{ *omca.Server }

func (s served) Run(ctx context.Context, announce func(ready)) error {
	return s.Server.Run(ctx, func(r omca.Ready) {
		announce(ready{addresses: r.Addresses, socket: r.Socket, ca: r.Fingerprint, cluster: r.Cluster})
	})
}

func (s served) sockets() ([]socket, error) {
	return taken(s.Sockets())
}

// taken says in this package's words which sockets they are.
func taken(all []omca.Socket, err error) ([]socket, error) {
	var sockets []socket
	for _, k := range all {
		sockets = append(sockets, socket{k.Name, k.Address, k.File})
	}
	return sockets, err
}
