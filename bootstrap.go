package omca

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"omca/ca"
	"omca/internal/hint"
	"omca/internal/object"
	"omca/internal/registry"
	"omca/usr"
)

// rootCaller is who acts with the rights of the machine's root: the socket, a
// command in process, the first start.
func rootCaller(method usr.Method, address string) usr.Caller {
	return usr.Caller{Name: "root", Method: method, Grants: usr.RootGrants(), Address: address}
}

// bootstrap makes what the first start must make. Each step looks first, so a
// start that was interrupted goes on where it stopped, and one that met that of
// another node looks again. With MustExist it makes nothing.
func (s *Server) bootstrap(ctx context.Context) error {
	if s.config.MustExist {
		return s.wasBegun(ctx)
	}
	err := s.makeAll(ctx)
	for range 5 {
		if !errors.Is(err, ca.ErrConflict) {
			break
		}
		err = s.makeAll(ctx)
	}
	return err
}

// wasBegun returns an error of kind ErrNoHome unless a first start made the
// object of the cluster.
func (s *Server) wasBegun(ctx context.Context) error {
	_, err := s.objects.Get(ctx, object.ClusterPath())
	if errors.Is(err, ca.ErrNotFound) {
		return unfinished(s.config.Home)
	}
	return err
}

func (s *Server) makeAll(ctx context.Context) error {
	if err := s.makeCluster(ctx); err != nil {
		return err
	}
	if err := s.makeHolder(ctx, object.CAPath(), nil); err != nil {
		return err
	}
	names, err := s.listenerNames(ctx)
	if err != nil {
		return err
	}
	if err := s.makeHolder(ctx, object.CertPath(), []string{"cn=" + s.config.NodeName, "alt_names=" + strings.Join(names, " ")}); err != nil {
		return err
	}
	if needs, err := s.authority.NeedsOwnListener(ctx); err != nil {
		return err
	} else if needs {
		own := object.NodeListenerPath(s.config.NodeName)
		if err := s.makeHolder(ctx, own, []string{"cn=" + s.config.NodeName, "alt_names=" + strings.Join(names, " ")}); err != nil {
			return err
		}
	}
	return s.makeTokenKeys(ctx)
}

func (s *Server) makeCluster(ctx context.Context) error {
	name := s.config.ClusterName
	if name == "" && s.db.follows != nil {
		c, err := s.objects.Cluster(ctx)
		if err == nil && c.Name != "" {
			return nil
		}
		return hint.With(fmt.Errorf("%s: there is no cluster yet, or it was not finished: %w", s.db.name, errors.Join(err, ca.ErrNotFound)), "to begin it, give it a name with --cluster-name")
	}
	if name == "" {
		var err error
		if name, err = randomName(); err != nil {
			return err
		}
	}
	err := s.create(ctx, object.ClusterPath(), []string{"cluster.name=" + name, "cluster.id=" + object.NewUUID(), "cluster.nodes=" + s.config.NodeName})
	if errors.Is(err, registry.ErrExists) {
		return s.keepsItsName(ctx)
	}
	if err == nil {
		s.config.Log.InfoContext(ctx, "cluster created", "name", name)
	}
	return err
}

// keepsItsName refuses a name that would have been for the first start: the
// certificates carry the one that the cluster has.
func (s *Server) keepsItsName(ctx context.Context) error {
	c, err := s.objects.Cluster(ctx)
	if err != nil || s.config.ClusterName == "" || s.config.ClusterName == c.Name {
		return err
	}
	return hint.With(fmt.Errorf("the cluster is called %q already, not %q", c.Name, s.config.ClusterName), "leave the name out: it is for the first start")
}

// makeHolder makes the object if need be, and its certificate if it has none.
// Whatever an import has left in it is not touched.
func (s *Server) makeHolder(ctx context.Context, p object.Path, keywords []string) error {
	if err := s.create(ctx, p, keywords); err != nil && !errors.Is(err, registry.ErrExists) {
		return err
	}
	h, err := s.objects.Holder(ctx, p.String())
	if err != nil || h.Chain != nil || h.Pending != nil {
		return err
	}
	_, err = s.authority.Create(ctx, rootCaller(usr.MethodSocket, "first start"), p.String(), ca.CreateOptions{})
	return err
}

// create makes an object with keywords, or reports object.ErrExists. It looks
// first: one that is there is found also while nothing can be changed.
func (s *Server) create(ctx context.Context, p object.Path, keywords []string) error {
	if _, err := s.objects.Get(ctx, p); !errors.Is(err, ca.ErrNotFound) {
		if err != nil {
			return err
		}
		return fmt.Errorf("%s: %w", p, registry.ErrExists)
	}
	set, err := object.ParseExprs(keywords)
	if err != nil {
		return err
	}
	c, _, err := object.NewConfig(p).Apply(object.Update{Set: set})
	if err != nil {
		return fmt.Errorf("%s: %w", p, err)
	}
	return s.objects.Create(ctx, p, c)
}

// listenerNames are the names by which clients on this node, or of the
// cluster's address, find the listener: what it was told to listen on is one.
func (s *Server) listenerNames(ctx context.Context) ([]string, error) {
	names := []string{s.config.NodeName, "localhost", "127.0.0.1", "::1"}
	cluster, err := s.objects.Get(ctx, object.ClusterPath())
	if err != nil {
		return nil, err
	}
	vip, err := cluster.Config.Strings("cluster.vip")
	if err != nil {
		return nil, err
	}
	for _, v := range vip {
		// "192.0.2.1/24@eth0" in OpenSVC: the address is what counts.
		v, _, _ = strings.Cut(v, "@")
		if prefix, err := netip.ParsePrefix(v); err == nil {
			v = prefix.Addr().String()
		}
		names = append(names, v)
	}
	return append(names, s.reachedBy()...), nil
}

// reachedBy is what others reach this node by, beside its name, as far as it was
// told: the host that it listens on, and the one that the other members have.
func (s *Server) reachedBy() []string {
	var hosts []string
	if host, _, err := net.SplitHostPort(s.config.Listen); err == nil {
		hosts = append(hosts, host)
	}
	if n := s.db.node; n != nil {
		if u, err := url.Parse(n.as.URL); err == nil {
			hosts = append(hosts, u.Hostname())
		}
	}
	return slices.DeleteFunc(hosts, func(host string) bool {
		a, err := netip.ParseAddr(host)
		return host == "" || host == s.config.NodeName || err == nil && (a.IsUnspecified() || a.IsLoopback() && host == "127.0.0.1")
	})
}

// randomName draws a name for a cluster that was not given one.
func randomName() (string, error) {
	adjectives := strings.Fields("able amber bold brave brisk calm clear coral crisp eager early fair fresh gentle glad golden " +
		"green happy hardy honest jolly keen kind light lively lucky merry mild modest neat noble open plain proud quick quiet " +
		"ready round sharp silver smart solid steady still sunny swift tidy true vivid warm wise")
	animals := strings.Fields("badger bat bear beaver bee bison camel cat condor crab crane crow deer dingo dove duck eagle " +
		"eel egret elk falcon ferret finch fox frog gecko goat goose hare hawk heron horse ibex jackal jay koala lark lemur lion " +
		"llama lynx magpie mole moose newt orca otter owl panda panther pony puma quail rabbit raven robin seal shark sheep swan tiger wolf yak zebra")
	pick := func(words []string) (string, error) {
		n, err := rand.Int(rand.Reader, big.NewInt(int64(len(words))))
		if err != nil {
			return "", err
		}
		return words[n.Int64()], nil
	}
	adjective, err := pick(adjectives)
	if err != nil {
		return "", err
	}
	animal, err := pick(animals)
	return adjective + "-" + animal, err
}
