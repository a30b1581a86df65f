package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"omca"
	"omca/internal/hint"
)

// initVerb makes a home.
func initVerb() verb {
	return verb{
		name: "init", usage: "make a home: its store, the seal key, the CA and the listener's certificate, as the first start of the daemon does", run: initHome,
		flags: []cli.Flag{
			&cli.StringFlag{Name: "cluster-name", Usage: "`NAME` of the cluster (default: drawn)"},
		},
		example: "omca init\nomca --home /srv/omca init --cluster-name prod",
	}
}

// initHome makes what a first start makes and is missing. A home that has all of it stays as it is.
func initHome(ctx context.Context, c *call) error {
	if d, err := c.destination(); err != nil {
		return err
	} else if !d.isLocal() {
		return hint.With(usagef("init makes a home on this machine, and a server elsewhere is named"), "leave --server out, or add --context local")
	}
	home, err := c.home()
	if err != nil {
		return err
	}
	// A home whose first start was cut short is there, and not yet a home.
	there, err := c.openHome(ctx, home, omca.Config{MustExist: true})
	made := errors.Is(err, omca.ErrNoHome)
	if err == nil && there != nil {
		err = there.Close()
	}
	if err != nil && !made {
		return err
	}
	if c.reached != nil {
		return c.initialized(ctx, false, home)
	}
	s, err := c.openHome(ctx, home, omca.Config{ClusterName: c.flags.String("cluster-name")})
	switch {
	case err != nil:
		return err
	case s == nil:
		return c.initialized(ctx, false, home)
	}
	if c.reached, err = c.through(s.Transport(), "", nil, s.Close); err != nil {
		return err
	}
	return c.initialized(ctx, made, home)
}

// openHome opens the home for init. It returns nil when a daemon runs on it, which is reached then.
func (c *call) openHome(ctx context.Context, home string, config omca.Config) (*omca.Server, error) {
	ctx, cancel := context.WithTimeout(ctx, lockTimeout)
	defer cancel()
	config.Home, config.PassphraseFile, config.Version, config.Now, config.Log = home, c.passphraseFile(), version(), time.Now, auditLog(home)
	for {
		s, err := omca.Open(context.WithoutCancel(ctx), config)
		if err = locked(err); !errors.Is(err, errLocked) {
			return s, err
		}
		r, reachErr := c.reachDaemon(ctx, home)
		if reachErr == nil {
			c.reached = r
			return nil, nil
		}
		if pause(ctx, 50*time.Millisecond) != nil {
			return nil, fmt.Errorf("%s: %w, and answers on no socket", home, err)
		}
	}
}

// initialized says what was made, and what to try next.
func (c *call) initialized(ctx context.Context, made bool, home string) error {
	status, err := c.reached.client.Status(ctx)
	if err != nil {
		return err
	}
	if name := c.flags.String("cluster-name"); name != "" && name != status.Cluster {
		return hint.With(fmt.Errorf("the cluster is called %q already, not %q", status.Cluster, name), "leave the name out: it is for the first start")
	}
	if !made {
		c.print("unchanged\n")
		return nil
	}
	if c.global.Bool("quiet") {
		return nil
	}
	c.say("omca: cluster %s is in %s\n", status.Cluster, home)
	c.say("omca: CA SHA-256 fingerprint %s\n", status.CASHA256)
	c.say("omca: try next: %s%s daemon run\n", c.name, c.homeOption(home))
	return nil
}

// homeOption is the flag that names the home in a command to try next, as far as it was typed.
func (c *call) homeOption(home string) string {
	if c.global.IsSet("home") {
		return " --home " + home
	}
	return ""
}

// noHome says that there is no home where the command looked for one, and what to do. Other errors stay as they are.
func (c *call) noHome(home string, err error) error {
	if !errors.Is(err, omca.ErrNoHome) {
		return err
	}
	ways := []string{"--home DIR names another home", "--server URL a server elsewhere", fmt.Sprintf("\"%s%s init\" makes one here", c.name, c.homeOption(home))}
	if os.Geteuid() != 0 {
		ways = append([]string{fmt.Sprintf("\"sudo %s\" is for the home of the machine's root", c.name)}, ways...)
	}
	return hint.With(err, "%s", strings.Join(ways, "; "))
}

// noDaemon says that no daemon runs on a home, or that the home is not there.
func (c *call) noDaemon(home string, err error) error {
	if missing := omca.FindHome(home); errors.Is(missing, omca.ErrNoHome) {
		return c.noHome(home, missing)
	}
	return hint.With(err, "start one with \"%s daemon run\"", c.name)
}
