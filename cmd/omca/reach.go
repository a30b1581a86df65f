package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"omca/internal/client"
	"omca/internal/hint"
)

const (
	socketName   = "omca.sock"
	probeTimeout = 5 * time.Second
	lockTimeout  = 15 * time.Second // another command holds the store for milliseconds; a daemon that starts, for a second
)

// errLocked is what an opener returns, wrapped, when another process has the store.
var errLocked = errors.New("another process has the store")

// store is a store opened by this process, with the API's handlers on it.
type store interface {
	Transport() http.RoundTripper
	Close() error
}

// place says where a store is, and what it is sealed with.
type place struct {
	home           string
	passphraseFile string // "" for the key file in home
	makes          bool   // a home that is not there is made
}

// opener opens a store, or returns errLocked at once.
type opener func(context.Context, place) (store, error)

// reached is a way to the API.
type reached struct {
	client *client.Client
	close  func() error
}

// home is the directory that holds everything.
func (c *call) home() (string, error) {
	for _, dir := range []string{c.global.String("home"), c.getenv("OMCA_HOME")} {
		if dir != "" {
			return filepath.Abs(dir)
		}
	}
	if os.Geteuid() == 0 {
		return "/var/lib/omca", nil
	}
	if dir := c.getenv("XDG_DATA_HOME"); dir != "" {
		return filepath.Join(dir, "omca"), nil
	}
	if dir := c.getenv("HOME"); dir != "" {
		return filepath.Join(dir, ".local/share/omca"), nil
	}
	return "", hint.With(errors.New("no home directory"), "say which with --home DIR or OMCA_HOME")
}

// passphraseFile is the file with the passphrase that the store is sealed with, "" when it is sealed with a key file.
func (c *call) passphraseFile() string {
	if file := c.global.String("passphrase-file"); file != "" {
		return file
	}
	return c.getenv("OMCA_PASSPHRASE_FILE")
}

// reach finds the API: the server asked for, else the daemon when one runs, else the handlers in this process.
func (c *call) reach(ctx context.Context) (*reached, error) {
	d, err := c.destination()
	if err != nil {
		return nil, err
	}
	if !d.isLocal() {
		return c.reachServer(ctx, d)
	}
	home, err := c.home()
	if err != nil {
		return nil, err
	}
	r, err := c.reachDaemon(ctx, home)
	if !errors.Is(err, client.ErrUnreachable) {
		return r, err
	}
	return c.reachStore(ctx, home)
}

// reachDaemon reaches the daemon on the unix socket; client.ErrUnreachable when none answers there.
func (c *call) reachDaemon(ctx context.Context, home string) (*reached, error) {
	socket := filepath.Join(home, socketName)
	transport := client.Unix(socket)
	r, err := c.through(transport, "", nil, func() error { transport.CloseIdleConnections(); return nil })
	if err != nil {
		return nil, err
	}
	probe, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	switch err := r.client.Health(probe); {
	case err == nil:
		return r, nil
	case errors.Is(err, context.DeadlineExceeded):
		return nil, fmt.Errorf("the daemon on %s does not answer within %s", socket, probeTimeout)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%s: %w", socket, errRefused)
	default:
		return nil, err
	}
}

// reachStore opens the store in this process. While another command has it, it waits for its turn, and a daemon that comes up
// meanwhile is as good.
func (c *call) reachStore(ctx context.Context, home string) (*reached, error) {
	ctx, cancel := context.WithTimeout(ctx, lockTimeout)
	defer cancel()
	collectAfter(collectUsual, c.getenv)
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, 250*time.Millisecond) {
		s, err := c.open(ctx, place{home, c.passphraseFile(), c.makesHome})
		if err == nil {
			return c.through(s.Transport(), "", nil, s.Close)
		}
		if errors.Is(err, fs.ErrPermission) {
			return nil, hint.With(fmt.Errorf("%w: %w", errRefused, err), "run as the user that owns %s, or say another with --home", home)
		}
		if !errors.Is(err, errLocked) {
			return nil, c.noHome(home, err)
		}
		if r, err := c.reachDaemon(ctx, home); !errors.Is(err, client.ErrUnreachable) {
			return r, err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return nil, ctx.Err()
			}
			return nil, hint.With(fmt.Errorf("%s: %w for more than %s, and answers on no socket", home, errLocked, lockTimeout),
				"see which with \"fuser %s/*\"", home)
		}
	}
}

func (c *call) through(transport http.RoundTripper, server string, authorization func(context.Context, string) (string, error), closer func() error) (*reached, error) {
	notice := c.notice
	if c.global.Bool("quiet") {
		notice = nil
	}
	cl, err := client.New(client.Config{Transport: transport, Server: server, Notice: notice, Authorization: authorization})
	if err != nil {
		return nil, errors.Join(err, closer())
	}
	return &reached{client: cl, close: closer}, nil
}

// onlyDaemon reaches the daemon, and does not stand in for it.
func (c *call) onlyDaemon(ctx context.Context) (*client.Client, error) {
	d, err := c.destination()
	if err != nil {
		return nil, err
	}
	if !d.isLocal() {
		return c.api(ctx)
	}
	home, err := c.home()
	if err != nil {
		return nil, err
	}
	r, err := c.reachDaemon(ctx, home)
	if errors.Is(err, client.ErrUnreachable) {
		if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("no daemon runs on %s", home)
		}
		return nil, c.noDaemon(home, err)
	}
	if err != nil {
		return nil, err
	}
	c.reached = r
	return r.client, nil
}
