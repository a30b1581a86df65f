package main

import (
	"context"
	"errors"
)

// daemon is an open authority that can be served.
type daemon interface {
	Run(ctx context.Context, announce func(ready)) error
	Close() error
}

var errNone = errors.New("not built in")

func openStore(context.Context, place) (store, error) { return nil, errNone }

func openDaemon(context.Context, daemonConfig) (daemon, error) { return nil, errNone }
