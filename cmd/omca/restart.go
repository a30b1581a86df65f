package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"omca/internal/client"
	"omca/internal/hint"
	"omca/internal/wire"
)

// tenure is the time that one process serves as the daemon: until it is stopped, or until its successor serves.
type tenure struct {
	*call
	config daemonConfig

	known atomic.Bool // to the service manager: a successor is none of its business until it serves

	mu      sync.Mutex
	serving daemon     // nil while the store is closed
	next    *successor // that is prepared
	left    []socket   // that it was given
}

// serve serves until it is told to stop, or until a successor does.
func (c *call) serve(ctx context.Context, config daemonConfig) error {
	heritage, err := inherit(c.getenv(successorVariable))
	if err != nil {
		return err
	}
	t := &tenure{call: c, config: config}
	t.config.restart = t.restart
	if heritage == nil {
		t.known.Store(true)
		if t.config.sockets, err = reserve(ctx, t.config); err != nil {
			return err
		}
		return t.hold(ctx, t.tellReady)
	}
	t.config.sockets = heritage.sockets
	if err = checkDaemon(t.config); err == nil {
		err = heritage.prepared(ctx)
	}
	if err == nil {
		err = t.hold(ctx, heritage.serving)
	}
	if err != nil {
		heritage.failed(err)
	}
	return err
}

// hold serves, and again when a successor fails. It calls begun when it serves for the first time.
func (t *tenure) hold(ctx context.Context, begun func() error) error {
	for {
		err := t.once(ctx, begun)
		if t.next == nil || err != nil || ctx.Err() != nil {
			return errors.Join(err, t.forgo())
		}
		t.tell(fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", monotonic()))
		err = t.next.serve(ctx)
		if err == nil {
			// Only the process that the manager knows can name another.
			t.tell(fmt.Sprintf("MAINPID=%d\nREADY=1", t.next.cmd.Process.Pid))
			t.config.log.InfoContext(ctx, "succeeded", "pid", t.next.cmd.Process.Pid)
			return closeFiles(t.left)
		}
		if ctx.Err() != nil {
			t.tell("STOPPING=1")
			return closeFiles(t.left)
		}
		t.config.log.ErrorContext(ctx, "restart failed", "error", err)
		t.config.sockets, t.config.restartError = t.left, err.Error()
		t.next, t.left = nil, nil
		begun = t.tellReady
	}
}

// once serves until Run ends, and closes the store.
func (t *tenure) once(ctx context.Context, begun func() error) error {
	s, err := t.claim(ctx, t.config)
	if err != nil {
		return err
	}
	t.mu.Lock()
	t.serving = s
	t.mu.Unlock()
	stopping := sync.OnceFunc(func() { t.tell("STOPPING=1") })
	forget := context.AfterFunc(ctx, stopping)
	err = s.Run(ctx, func(r ready) {
		if t.config.restartError == "" {
			t.announce(t.config.home, r)
			releaseProgram()
		}
		if err := errors.Join(begun(), closeFiles(t.config.sockets)); err != nil {
			t.config.log.WarnContext(ctx, "predecessor not told", "error", err)
		}
		t.config.sockets = nil
		t.known.Store(true)
	})
	forget()
	t.mu.Lock()
	t.serving = nil
	if t.next == nil {
		stopping()
	}
	t.mu.Unlock()
	return errors.Join(err, s.Close())
}

// restart prepares a successor, has the daemon drain, and returns before it has. It is called by a request.
func (t *tenure) restart() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.serving == nil || t.next != nil:
		return errors.New("a restart is under way, or a stop")
	case os.Getpid() == 1:
		return hint.With(errors.New("the daemon is the first process of its container, which would end with it"), "restart the container, or run omca under an init process (docker run --init)")
	}
	program, err := findProgram(t.started[0])
	if err != nil {
		return fmt.Errorf("the program of this daemon: %w", err)
	}
	sockets, err := t.serving.sockets()
	if err != nil {
		return err
	}
	next, err := startSuccessor(program, t.started[1:], t.environ(), sockets)
	if err != nil {
		t.config.log.Error("restart failed", "error", err)
		return hint.With(errors.Join(err, closeFiles(sockets)), "the daemon serves on as before; its log has more")
	}
	t.next, t.left = next, sockets
	t.serving.Leave()
	return nil
}

// forgo ends a successor that was prepared and is not wanted.
func (t *tenure) forgo() error {
	if t.next == nil {
		return nil
	}
	t.next.end()
	return closeFiles(t.left)
}

// tellReady tells the service manager that this process serves.
func (t *tenure) tellReady() error {
	t.tell("READY=1")
	return nil
}

// tell tells the service manager.
func (t *tenure) tell(state string) {
	if !t.known.Load() {
		return
	}
	if err := notifyManager(t.getenv("NOTIFY_SOCKET"), state); err != nil {
		t.config.log.Warn("service manager not told", "state", state, "error", err)
	}
}

func closeFiles(sockets []socket) error {
	var errs []error
	for _, k := range sockets {
		errs = append(errs, k.file.Close())
	}
	return errors.Join(errs...)
}

// monotonic is the clock that the service manager orders messages by, in microseconds.
func monotonic() int64 {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return 0 // older than any request to reload
	}
	return now.Nano() / int64(time.Microsecond)
}

// restartDaemon has the daemon restarted, and waits until its successor serves; with --node, those of all nodes selected, one after another.
func restartDaemon(ctx context.Context, c *call) error {
	api, err := c.onlyDaemon(ctx)
	if err != nil {
		return err
	}
	before, err := api.Status(ctx)
	if err != nil {
		return err
	}
	nodes := []string{before.Node}
	if c.flags.IsSet("node") {
		if nodes, err = c.selectedNodes(ctx, api, before.Node); err != nil {
			return err
		}
	}
	for _, node := range nodes {
		began := time.Now()
		if len(nodes) > 1 {
			c.progress("%s restarts", node)
		}
		if node == before.Node {
			err = c.restartThis(ctx, api, before)
		} else {
			err = c.askNode(ctx, api, node, "restart")
		}
		if err != nil {
			return err
		}
		if len(nodes) > 1 {
			c.progress("%s serves again, after %s", node, time.Since(began).Round(10*time.Millisecond))
		}
	}
	return nil
}

func (c *call) restartThis(ctx context.Context, api *client.Client, before wire.Status) error {
	if err := api.Restart(ctx); err != nil {
		return err
	}
	return c.awaitSuccessor(ctx, before)
}

// awaitSuccessor waits for another process to answer, or for the same one to serve again, which is to say that the restart failed.
func (c *call) awaitSuccessor(ctx context.Context, before wire.Status) error {
	const patience = prepareTime + serveTime
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("the daemon does not answer %s after it agreed to restart", patience))
	defer cancel()
	for {
		status, err := c.statusNow(ctx)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, fs.ErrNotExist):
			// The sockets are open as long as anybody is there to serve.
			return hint.With(fmt.Errorf("the daemon ended as it restarted: %w", err), "its log says why; start one with \"%s daemon run\"", c.name)
		case err != nil && !errors.Is(err, client.ErrUnreachable):
			return err
		case err == nil && status.PID != before.PID:
			return nil
		case err == nil && !status.StartedAt.Equal(before.StartedAt):
			return hint.With(fmt.Errorf("the restart failed, and the daemon serves on: %s", status.RestartError), "its log has more")
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return context.Cause(ctx)
		}
	}
}

// statusNow asks on a connection of its own: an older one is the predecessor's.
func (c *call) statusNow(ctx context.Context) (wire.Status, error) {
	r, err := c.again(ctx)
	if err != nil {
		return wire.Status{}, err
	}
	status, err := r.client.Status(ctx)
	return status, errors.Join(err, r.close())
}

// again reaches the API anew, without a probe: a connection that nobody accepts yet is waited for.
func (c *call) again(ctx context.Context) (*reached, error) {
	where, err := c.destination()
	if err != nil {
		return nil, err
	}
	if !where.isLocal() {
		return c.reachServer(ctx, where)
	}
	home, err := c.home()
	if err != nil {
		return nil, err
	}
	transport := client.Unix(filepath.Join(home, socketName))
	return c.through(transport, "", nil, func() error { transport.CloseIdleConnections(); return nil })
}

// selects tells whether a selector of nodes, globs or a comma list of them, has a node in it.
func selects(selector, node string) (bool, error) {
	for pattern := range strings.SplitSeq(selector, ",") {
		match, err := path.Match(strings.TrimSpace(pattern), node)
		if err != nil {
			return false, usagef("--node %q: not a name or a glob", selector)
		}
		if match {
			return true, nil
		}
	}
	return false, nil
}
