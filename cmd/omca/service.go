package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"omca"
	"omca/internal/client"
	"omca/internal/hint"
	"omca/internal/text"
	"omca/internal/wire"
)

// daemonGroup are the verbs of the daemon.
func (p *program) daemonGroup() *cli.Command {
	return group("daemon", "the daemon", p.commands("", []verb{
		{
			name: "run", usage: "run the daemon in the foreground; the first start makes the CA and the listener's certificate", run: runDaemon,
			flags: append([]cli.Flag{
				&cli.StringFlag{Name: "listen", Usage: "`ADDR` to listen on: :1215, 127.0.0.1:8443 (default: keywords listener.addr and listener.port)"},
				&cli.StringFlag{Name: "cluster-name", Usage: "`NAME` of the cluster, on the first start (default: drawn)"},
				&cli.StringFlag{Name: "node-name", Usage: "`NAME` of this node (default: the host name)"},
				&cli.StringFlag{Name: "store", Usage: "`URL` of an etcd that nodes share: etcd://HOST:PORT,HOST:PORT/PREFIX, or etcds:// for TLS (default: what the home remembers, else a store in the home)"},
				&cli.StringFlag{Name: "store-ca", Usage: "PEM `FILE` with the CA of the etcd servers (default: those that the system trusts)"},
				&cli.StringFlag{Name: "store-cert", Usage: "PEM `FILE` with this node's certificate for etcd"},
				&cli.StringFlag{Name: "store-key", Usage: "PEM `FILE` with its key, mode 0600"},
				&cli.StringFlag{Name: "store-user", Usage: "`NAME` of the user at etcd"},
				&cli.StringFlag{Name: "store-password-file", Usage: "`FILE` whose first line is the user's password, mode 0600"},
				&cli.StringFlag{Name: "mark", Usage: "`FILE` outside of the home that remembers how far the store was, so that a home that is put back from a copy is noticed (default: the home with .mark behind it)"},
				&cli.StringFlag{Name: "log-level", Value: "info", Usage: "`LEVEL`: debug, info, warn or error"},
				&cli.StringFlag{Name: "log-format", Value: "auto", Usage: "`FORMAT`: text, json, or auto (text on a terminal)"},
			}, joinFlags()...),
			example: "omca daemon run\nomca --home /srv/omca daemon run --listen 127.0.0.1:8443 --cluster-name prod\nomca daemon run --cluster --peer node1:1217\nomca daemon run --join https://node1:1215 --token-file token --node-name node2\nomca daemon run --store etcds://etcd1:2379,etcd2:2379/omca --store-ca etcd-ca.pem --store-user omca --store-password-file etcd.pw --cluster-name prod",
		},
		daemonAuthVerb(),
		{name: "status", usage: "how the daemon is doing", example: "omca daemon status", run: daemonStatus},
		{
			name: "restart", usage: "have a new process take the daemon's place; no connection is refused", run: restartDaemon,
			flags:   []cli.Flag{nodeFlag()},
			example: "omca daemon restart\nomca daemon restart --node=\"*\"",
		},
		{
			name: "drain", usage: "have load balancers leave the daemon: it serves on, and says that it is not ready", run: drainDaemon,
			flags:   []cli.Flag{nodeFlag(), &cli.BoolFlag{Name: "off", Usage: "be ready again"}},
			example: "omca daemon drain\nomca daemon drain --node node2\nomca daemon drain --off",
		},
		{
			name: "accept-rollback", usage: "take a store that was set back as it is, and sign again", run: acceptRollback,
			flags: []cli.Flag{yesFlag()}, example: "omca daemon accept-rollback --yes",
		},
		{
			name: "stop", usage: "stop the daemon, once what it is doing is done", run: stopDaemon,
			flags: []cli.Flag{nodeFlag()}, example: "omca daemon stop\nomca daemon stop --node node2",
		},
	})...)
}

// daemonConfig is what "daemon run" was told.
type daemonConfig struct {
	place
	mark, listen, clusterName, nodeName string
	store                               storeFlags

	cluster bool       // become the first member
	join    *omca.Join // nil: do not
	peer    string     // address for the other members

	log    *slog.Logger
	memory func(bytes int64) // is told what is taken for a moment

	sockets      []socket     // left by another daemon, or by this one
	restart      func() error // starts a successor
	restartError string       // why this one serves on after that
}

// storeFlags say which store is shared with other nodes, and how it is reached.
type storeFlags struct{ url, ca, cert, key, user, passwordFile string }

// ready is what a daemon says once it serves.
type ready struct {
	addresses  []string
	socket, ca string // ca is the SHA-256 fingerprint
	cluster    string
}

func runDaemon(ctx context.Context, c *call) error {
	home, err := c.home()
	if err != nil {
		return err
	}
	log, err := c.logger()
	if err != nil {
		return err
	}
	joins, err := c.joining(ctx)
	if err != nil {
		return err
	}
	pace := c.paceCollector(ctx, log)
	config := daemonConfig{
		place:       place{home: home, passphraseFile: c.passphraseFile()},
		mark:        cmp.Or(c.flags.String("mark"), c.getenv("OMCA_MARK")),
		listen:      c.flags.String("listen"),
		clusterName: c.flags.String("cluster-name"),
		nodeName:    c.flags.String("node-name"),
		cluster:     c.flags.Bool("cluster"),
		join:        joins,
		peer:        c.flags.String("peer"),
		store: storeFlags{
			url: c.flags.String("store"), ca: c.flags.String("store-ca"), cert: c.flags.String("store-cert"), key: c.flags.String("store-key"),
			user: c.flags.String("store-user"), passwordFile: c.flags.String("store-password-file"),
		},
		log:    log,
		memory: pace,
	}
	return c.serve(ctx, config)
}

// claim opens the store for a daemon. A command that has it is waited for; another daemon is not.
func (c *call) claim(ctx context.Context, config daemonConfig) (daemon, error) {
	ctx, cancel := context.WithTimeout(ctx, lockTimeout)
	defer cancel()
	for {
		s, err := openDaemon(context.WithoutCancel(ctx), config)
		if !errors.Is(err, errLocked) {
			return s, err
		}
		if r, err := c.reachDaemon(ctx, config.home); err == nil {
			return nil, hint.With(errors.Join(fmt.Errorf("a daemon runs on %s already", config.home), r.close()), "\"%s daemon status\" tells about it", c.name)
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// announce tells the operator where the daemon listens and what to try next.
func (c *call) announce(home string, r ready) {
	if c.global.Bool("quiet") {
		return
	}
	c.say("omca: cluster %s listens on %s and %s\n", r.cluster, strings.Join(r.addresses, ", "), r.socket)
	c.say("omca: CA SHA-256 fingerprint %s\n", r.ca)
	c.say("omca: try next: %s%s system/usr/alice create --kw grant=root\n", c.name, c.homeOption(home))
}

func (c *call) logger() (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.flags.String("log-level"))); err != nil {
		return nil, usagef("--log-level %q: not one of debug, info, warn, error", c.flags.String("log-level"))
	}
	options := &slog.HandlerOptions{Level: level}
	format := c.flags.String("log-format")
	if format == "auto" {
		format = "json"
		if isTerminal(c.stderr) {
			format = "text"
		}
	}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(c.stderr, options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(text.JSONTo(c.stderr), options)), nil
	}
	return nil, usagef("--log-format %q: not one of text, json, auto", format)
}

func daemonStatus(ctx context.Context, c *call) error {
	api, err := c.onlyDaemon(ctx)
	if err != nil {
		return err
	}
	status, err := api.Status(ctx)
	if err != nil {
		return err
	}
	type s = wire.Status
	return emitOne(c.printer, status, append([]column[s]{
		{name: "NODE", text: func(s s) string { return s.Node }},
		{name: "CLUSTER", text: func(s s) string { return s.Cluster }},
		{name: "CLUSTER ID", text: func(s s) string { return s.ClusterID }},
		{name: "VERSION", text: func(s s) string { return s.Version }},
		{name: "PID", text: func(s s) string { return strconv.Itoa(s.PID) }},
		{name: "STARTED", text: func(s s) string { return instant(s.StartedAt) }},
		{name: "LISTENS ON", text: func(s s) string { return strings.Join(s.Addresses, " ") }},
		{name: "CERTIFICATES", text: func(s s) string { return strconv.Itoa(s.Certificates) }},
		{name: "CA SHA256", text: func(s s) string { return s.CASHA256 }},
		{name: "CA NOT AFTER", text: func(s s) string { return instant(s.CANotAfter) }},
		{name: "LISTENER SERIAL", text: func(s s) string { return s.ListenerSerial }},
		{name: "LISTENER NOT AFTER", text: func(s s) string { return instant(s.ListenerNotAfter) }},
	}, slices.Concat(openidColumns(), storeColumns(), upkeepColumns())...))
}

// storeColumns say in the status of a daemon how it stands to the store that it shares.
func storeColumns() []column[wire.Status] {
	type s = wire.Status
	return []column[s]{
		{name: "STORE", text: func(s s) string {
			if s.Store == nil {
				return ""
			}
			return s.Store.Name
		}},
		{name: "STORE STATE", text: func(s s) string {
			switch t := s.Store; {
			case t == nil:
				return ""
			case t.Ended:
				return fmt.Sprintf("away since %s, only the unix socket is served: %s", instant(t.Word), t.Away)
			case t.Away != "":
				return fmt.Sprintf("away since %s, served until %s: %s", instant(t.Word), instant(t.Until), t.Away)
			}
			return "current at " + instant(s.Store.Word)
		}},
		{name: "CHOSEN NODE", text: func(s s) string {
			if s.Store == nil {
				return ""
			}
			return s.Store.Chosen
		}},
	}
}

// upkeepColumns show in the status of a daemon how its work beside the requests is doing.
func upkeepColumns() []column[wire.Status] {
	type s = wire.Status
	return []column[s]{
		{name: "CLOCK", text: func(s s) string {
			switch c := s.Clock; {
			case c == nil:
				return ""
			case c.Off:
				return "off: " + clock(c.Offset, c.Off) + "; this node renews nothing and numbers no revocation list"
			case len(c.Others) == 0:
				return "compared with no other node"
			default:
				return fmt.Sprintf("compared with %d", len(c.Others))
			}
		}},
		{name: "PANICS", text: func(s s) string {
			var all []string
			for _, p := range s.Panics {
				all = append(all, fmt.Sprintf("%s: %d", p.Task, p.Count))
			}
			return strings.Join(all, ", ")
		}},
	}
}

// stopDaemon asks the daemon to stop and waits until it answers no more.
func stopDaemon(ctx context.Context, c *call) error {
	api, err := c.onlyDaemon(ctx)
	if err != nil {
		return err
	}
	if c.flags.IsSet("node") {
		return c.askNodes(ctx, api, "stop")
	}
	if err := api.Stop(ctx); err != nil {
		return err
	}
	if c.where != nil && !c.where.isLocal() {
		return nil
	}
	home, err := c.home()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, lockTimeout)
	defer cancel()
	for {
		r, err := c.reachDaemon(ctx, home)
		if errors.Is(err, client.ErrUnreachable) {
			return nil
		}
		if err == nil {
			err = r.close()
		}
		if err != nil {
			return err
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return fmt.Errorf("the daemon on %s still answers after %s", filepath.Join(home, socketName), lockTimeout)
		}
	}
}

// pause waits, unless the context ends first.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
